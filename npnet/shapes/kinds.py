"""Names for what diffusers makes: it finds its classes late, so type checkers see none of their members."""

from typing import Any, TypeAlias

__all__ = ["Autoencoder", "Pipeline"]

Pipeline: TypeAlias = Any
"""A ``StableDiffusionXLPipeline``."""
Autoencoder: TypeAlias = Any
"""An ``AutoencoderKL``."""
