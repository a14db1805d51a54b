"""Spaces in which pictures of one prompt are told apart; see ``npnet.metrics.diversity``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from npnet.metrics.diversity import gaussian_similarity
from npnet.shapes.judge import positions


@dataclass(frozen=True)
class FeatureSpace:
    """A named space of features.

    Attributes:
        features: pictures ``(n, 3, H, W)`` in [0, 1] and their prompts to ``(n, d)``.
        similarity: features to ``(n, n)``, 1 on the diagonal, for the Vendi score.
        unit: of a distance.
    """

    features: Callable[[Tensor, Sequence[str]], Tensor]
    similarity: Callable[[Tensor], Tensor]
    unit: str


def pixels(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """Return every value of a picture, such that a distance is the root of the mean squared difference of values."""
    flat = images.flatten(1)
    return flat / flat.shape[1] ** 0.5


SPACES: Mapping[str, FeatureSpace] = MappingProxyType(
    {
        "pixels": FeatureSpace(pixels, lambda found: gaussian_similarity(found, 0.1), "of the range of values"),
        "shapes_positions": FeatureSpace(positions, lambda found: gaussian_similarity(found, 2.0), "pixels"),
    }
)
"""By name. The widths of the kernels are our choice: near the median distance of standard noise's pictures."""
