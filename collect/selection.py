"""Which pairs are kept.

Golden Noise, section 3.2: a pair is kept when its golden picture scores higher than its source picture by more than a
margin m, strictly. With several metrics either all must agree, or their weighted sum decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Scores = Mapping[str, tuple[float, float]]
"""Metric label -> (score of the source picture, score of the golden picture)."""

KEPT = ""
NOT_FINITE = "not finite"
"""The noise, the picture or a score is NaN or infinite."""


def verdict(reason: str, keep_all: bool) -> tuple[bool, bool]:
    """Return whether a pair is kept, and whether it is written.

    A pair that is not finite is useless, so ``keep_all`` also leaves it out.
    """
    return reason == KEPT, reason == KEPT or (keep_all and reason != NOT_FINITE)


@dataclass(frozen=True)
class Selection:
    """The keep rule.

    Attributes:
        rule: ``all``: golden > source + margin for every metric; ``weighted``: for the weighted sum of the metrics.
        margin: m, on the metric's own scale (of the weighted sum, for ``weighted``).
        weights: metric label -> weight, 1 where it is not named; for ``weighted``.
    """

    rule: str = "all"
    margin: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)

    def reject_reason(self, scores: Scores) -> str:
        """Return why a pair is rejected, or ``KEPT``."""
        if not all(math.isfinite(value) for pair in scores.values() for value in pair):
            return NOT_FINITE
        if self.rule == "weighted":
            source, golden = (sum(self.weight(m) * scores[m][side] for m in scores) for side in (0, 1))
            return KEPT if golden > source + self.margin else "not better: weighted sum"
        worse = [metric for metric, (source, golden) in scores.items() if not golden > source + self.margin]
        return f"not better: {', '.join(worse)}" if worse else KEPT

    def weight(self, metric: str) -> float:
        """Return a metric's weight."""
        return float(self.weights.get(metric, 1.0))

    def selected_by(self, metrics: Sequence[str]) -> list[str]:
        """Return the metrics that take part in the decision: whatever is trained on the pairs is optimised for them."""
        return [metric for metric in metrics if self.rule == "all" or self.weight(metric) != 0]
