"""Preference metrics; see ``base`` for the contract."""

from npnet.metrics.aes import AES
from npnet.metrics.base import Metric, SoftmaxPreference, preference_by_order
from npnet.metrics.clipscore import CLIPScore
from npnet.metrics.hpsv2 import HPSv2
from npnet.metrics.imagereward import ImageReward
from npnet.metrics.mps import MPS
from npnet.metrics.pickscore import PickScore
from npnet.metrics.pixels import PixelMetric
from npnet.metrics.shapes_judge import ShapesJudge
from npnet.metrics.shapes_scorer import ShapesScorer
from npnet.metrics.vqascore import VQAScore

__all__ = [
    "AES",
    "MPS",
    "CLIPScore",
    "HPSv2",
    "ImageReward",
    "Metric",
    "PickScore",
    "PixelMetric",
    "ShapesJudge",
    "ShapesScorer",
    "SoftmaxPreference",
    "VQAScore",
    "preference_by_order",
]
