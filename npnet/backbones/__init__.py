"""Diffusion models behind one interface: the descriptions here need no torch; their runtimes are in ``runtime``.

To add a model that has a diffusers pipeline, write a ``PipelineBackbone`` as its description and two small classes as
its runtime; ``hunyuan.py`` and ``runtime/hunyuan.py`` are an example. To add a model without one (TRELLIS), write one
file with a ``Backbone``, its schedule, and the parts of a ``runtime.loaded.LoadedBackbone``; ``tests/voxels.py`` is an
example on a 3-D grid. The ``_target_`` in a YAML file names the class, which may be outside the project;
``--config-dir`` names the folder of the YAML.
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
