"""Shapes: a text-to-image world small enough to train, sample and judge on a laptop.

It has pictures of two coloured shapes, a grammar of prompts, a genuine ``StableDiffusionXLPipeline``, a learned scorer
that selects, and an independent judge that measures the shapes in a picture. ``npnet build-shapes`` makes all of it
from a seed. Importing this package does not import torch.
"""

from pathlib import Path

from npnet.shapes.grammar import Scene, held_out_prompts, parse, prompts, training_prompts

__all__ = [
    "IMAGE_SIZE",
    "LATENT_CHANNELS",
    "LATENT_SIZE",
    "WEIGHTS",
    "Scene",
    "held_out_prompts",
    "parse",
    "prompts",
    "training_prompts",
    "weights",
]

IMAGE_SIZE = 32
"""Height and width of a picture, in pixels."""

LATENT_CHANNELS = 4
LATENT_SIZE = 16
"""Height and width of the latents, in cells of 2 x 2 pixels."""

WEIGHTS = Path(__file__).parent / "weights"
"""Where the shipped weights lie, one folder for each variant."""


def weights(variant: str = "a") -> Path:
    """Return the folder of a shipped variant: ``pipeline/``, ``scorer/`` and ``quality.json``.

    Raises:
        FileNotFoundError: no such variant was built; says which were.
    """
    folder = WEIGHTS / variant
    if not (folder / "pipeline" / "model_index.json").is_file():
        built = sorted(path.parent.parent.name for path in WEIGHTS.glob("*/pipeline/model_index.json"))
        raise FileNotFoundError(f"no Shapes weights for variant {variant!r}; there are: {', '.join(built) or 'none'}")
    return folder
