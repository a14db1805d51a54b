"""Diffusion models behind one interface; see ``base`` for the contract.

A further model is one file and one YAML. Where diffusers has a pipeline for it, the class inherits a schedule
(``VariancePreserving`` or ``FlowMatching``) and ``pipeline.PipelineBackbone``, and writes ``embed_dims``, ``embed`` and
``denoise``; ``hunyuan.py`` is an example. Where it has none (TRELLIS), the class inherits the schedule alone and writes
the operations that ``Backbone`` leaves open; ``tests/voxels.py`` is an example on a 3-D grid. A class outside the
project is named by its YAML's ``_target_``; ``--config-dir`` says where that YAML lies.
"""

from npnet.backbones.base import END, Backbone, Coefficients, Step
from npnet.backbones.controlnet import StableDiffusionXLControlNet
from npnet.backbones.flow import Flux, StableDiffusion3
from npnet.backbones.hunyuan import HunyuanDiT
from npnet.backbones.schedules import FlowMatching, VariancePreserving
from npnet.backbones.shapes import Shapes
from npnet.backbones.stable_diffusion import StableDiffusion, StableDiffusionXL
from npnet.backbones.wan import Wan

__all__ = [
    "END",
    "Backbone",
    "Coefficients",
    "FlowMatching",
    "Flux",
    "HunyuanDiT",
    "Shapes",
    "StableDiffusion",
    "StableDiffusion3",
    "StableDiffusionXL",
    "StableDiffusionXLControlNet",
    "Step",
    "VariancePreserving",
    "Wan",
]
