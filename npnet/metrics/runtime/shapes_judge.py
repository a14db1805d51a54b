"""The scorer of ``npnet.metrics.shapes_judge``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.metrics.runtime.base import Scorer
from npnet.shapes.judge import judge


class ShapesJudgeScorer(Scorer):
    """Geometry alone; there is nothing to load."""

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        verdict = judge(images.detach().cpu().float(), list(prompts))
        return torch.as_tensor(verdict.all_correct).float().to(images.device)
