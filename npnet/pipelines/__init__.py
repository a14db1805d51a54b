"""Golden noise in a diffusers pipeline of the user."""

from npnet.pipelines.golden import GoldenNoise

__all__ = ["GoldenNoise"]
