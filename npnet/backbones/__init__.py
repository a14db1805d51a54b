"""Diffusion models behind one interface: descriptions here, which need no torch, and their runtimes in ``runtime``.

Where diffusers has a pipeline for a further model, its description is a ``PipelineBackbone`` and its runtime two small
classes; ``hunyuan.py`` and ``runtime/hunyuan.py`` are an example. Where it has none (TRELLIS), one file states a
``Backbone`` with its schedule, and the parts that a ``runtime.loaded.LoadedBackbone`` is composed of;
``tests/voxels.py`` is an example on a 3-D grid. A class outside the project is named by its YAML's ``_target_``;
``--config-dir`` says where that YAML lies.
"""

from npnet.backbones.base import Backbone
from npnet.backbones.flow import Flux, StableDiffusion3
from npnet.backbones.flux2 import Flux2Klein
from npnet.backbones.hunyuan import HunyuanDiT
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.qwen_image import QwenImage
from npnet.backbones.sana import SanaSprint
from npnet.backbones.schedules import (
    END,
    Coefficients,
    FlowSchedule,
    Schedule,
    Step,
    VariancePreservingSchedule,
)
from npnet.backbones.shapes import Shapes
from npnet.backbones.stable_diffusion import StableDiffusion, StableDiffusionXL, StableDiffusionXLControlNet
from npnet.backbones.traits import CAPABILITIES
from npnet.backbones.wan import Wan
from npnet.backbones.z_image import ZImage

__all__ = [
    "CAPABILITIES",
    "END",
    "Backbone",
    "Coefficients",
    "FlowSchedule",
    "Flux",
    "Flux2Klein",
    "HunyuanDiT",
    "PipelineBackbone",
    "QwenImage",
    "SanaSprint",
    "Schedule",
    "Shapes",
    "StableDiffusion",
    "StableDiffusion3",
    "StableDiffusionXL",
    "StableDiffusionXLControlNet",
    "Step",
    "VariancePreservingSchedule",
    "Wan",
    "ZImage",
]
