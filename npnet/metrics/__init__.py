"""Preference metrics; see ``base`` for the contract."""

from npnet.metrics.base import Metric, preference_by_order
from npnet.metrics.shapes_judge import ShapesJudge
from npnet.metrics.shapes_scorer import ShapesScorer

__all__ = ["Metric", "ShapesJudge", "ShapesScorer", "preference_by_order"]
