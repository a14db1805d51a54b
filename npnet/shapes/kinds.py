"""Types for objects of diffusers, which loads its classes late, so that type checkers see none of their members."""

from typing import Any, TypeAlias

__all__ = ["Autoencoder", "Pipeline"]

Pipeline: TypeAlias = Any
"""A ``StableDiffusionXLPipeline``."""
Autoencoder: TypeAlias = Any
"""An ``AutoencoderKL``."""
