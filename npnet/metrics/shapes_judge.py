"""The Shapes model's judge: right or wrong, read from the picture by geometry."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.metrics.shapes_metric import ShapesMetric


@dataclass(frozen=True)
class ShapesJudge(ShapesMetric):
    """1 where both colours, both shapes and the relation are as the prompt says, else 0.

    No learned part, nothing in common with the scorer, and never used to select: the independent referee.
    """

    runtime = "npnet.metrics.runtime.shapes_judge:ShapesJudgeScorer"
