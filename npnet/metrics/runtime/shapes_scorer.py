"""The scorer of ``npnet.metrics.shapes_scorer``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.metrics.runtime.base import Scorer
from npnet.metrics.shapes_scorer import ShapesScorer
from npnet.shapes.scorer import ShapesScorer as Model
from npnet.weights.files import is_smoke


class ShapesScorerScorer(Scorer):
    """The dual encoder."""

    def __init__(self, metric: ShapesScorer, device: torch.device | str = "cpu") -> None:
        self.model = Model.from_directory(metric.folder).to(device).eval()
        super().__init__(metric, device, smoke=is_smoke(metric.folder))

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self.model.score(images, prompts)
