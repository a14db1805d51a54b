"""The Shapes model's preference model: selects pairs, and is differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from npnet import paths
from npnet.errors import UserError
from npnet.metrics.base import Metric
from npnet.metrics.loading import is_smoke


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

    def check(self) -> None:
        """See ``Metric.check``."""
        if not (Path(self.path) / "model.safetensors").is_file():
            raise UserError(f"shapes_scorer.path={self.path}: no Shapes scorer there (model.safetensors is missing)")

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        from npnet.shapes.scorer import ShapesScorer as Model

        self.model = Model.from_directory(self.path).to(device).eval()
        self.smoke = is_smoke(self.path)
        return self

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.model.score(images, prompts)
