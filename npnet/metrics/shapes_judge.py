"""The Shapes model's judge: right or wrong, read from the picture by geometry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from npnet.metrics.base import Metric


class ShapesJudge(Metric):
    """1 where both colours, both shapes and the relation are as the prompt says, else 0.

    No learned part, nothing in common with the scorer, and never used to select: the independent referee.
    """

    display_scale = 100.0
    domain = "shapes"

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``; there is nothing to load."""
        return self

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        from npnet.shapes.judge import judge

        verdict = judge(images.detach().cpu().float(), list(prompts))
        return torch.as_tensor(verdict.all_correct).float().to(images.device)
