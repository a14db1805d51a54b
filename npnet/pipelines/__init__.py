"""Golden noise in somebody's diffusers pipeline."""

from npnet.pipelines.golden import GoldenNoise

__all__ = ["GoldenNoise"]
