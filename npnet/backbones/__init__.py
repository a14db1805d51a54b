"""Diffusion models behind one interface; see ``base`` for the contract."""

from npnet.backbones.base import END, Backbone, Coefficients, Step
from npnet.backbones.shapes import Shapes
from npnet.backbones.stable_diffusion import StableDiffusionXL

__all__ = ["END", "Backbone", "Coefficients", "Shapes", "StableDiffusionXL", "Step"]
