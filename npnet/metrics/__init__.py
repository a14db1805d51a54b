"""Metrics. The descriptions here need no torch; ``base`` states the contract, and ``runtime`` computes the scores."""

from npnet.metrics.aes import AES
from npnet.metrics.base import Metric, SoftmaxPreference, load_metrics
from npnet.metrics.clipscore import CLIPScore
from npnet.metrics.hpsv2 import HPSv2
from npnet.metrics.hpsv3 import HPSv3
from npnet.metrics.imagereward import ImageReward
from npnet.metrics.mps import MPS
from npnet.metrics.pickscore import PickScore
from npnet.metrics.shapes_judge import ShapesJudge
from npnet.metrics.shapes_scorer import ShapesScorer
from npnet.metrics.traits import preference_by_order
from npnet.metrics.vlm_judge import VLMJudge
from npnet.metrics.vqascore import VQAScore

__all__ = [
    "AES",
    "MPS",
    "CLIPScore",
    "HPSv2",
    "HPSv3",
    "ImageReward",
    "Metric",
    "PickScore",
    "ShapesJudge",
    "ShapesScorer",
    "SoftmaxPreference",
    "VLMJudge",
    "VQAScore",
    "load_metrics",
    "preference_by_order",
]
