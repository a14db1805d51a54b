"""The Shapes model's judge: right or wrong, read from the picture by geometry."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.metrics.shapes_metric import ShapesMetric


@dataclass(frozen=True)
class ShapesJudge(ShapesMetric):
    """1 where both colours, both shapes and the relation are as the prompt says, else 0.

    It has no learned part and nothing in common with the scorer, and it is never used to select. So it is an
    independent judge.
    """

    runtime = "npnet.metrics.runtime.shapes_judge:ShapesJudgeScorer"
