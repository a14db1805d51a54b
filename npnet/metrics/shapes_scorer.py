"""The Shapes model's preference model: selects pairs, and is differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from npnet import paths
from npnet.metrics.base import Metric


class ShapesScorer(Metric):
    """Cosine similarity of a dual encoder of Shapes pictures and prompts, in [-1, 1].

    It plays the part that HPSv2 plays on real models, so on Shapes it is the metric that selects: whatever was
    collected or searched with it is marked as optimised for it.
    """

    differentiable = True
    display_scale = 100.0
    domain = "shapes"

    def __init__(self, path: str | None = None) -> None:
        super().__init__()
        self.path = path or str(paths.shapes_weights() / "scorer")
        self.model: Any = None

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        from npnet.shapes.scorer import Scorer

        self.model = Scorer.from_directory(self.path).to(device).eval()
        return self

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.model.score(images, prompts)
