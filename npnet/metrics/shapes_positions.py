"""Where the objects of the built-in model's pictures are, as a space of features."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.bounds import Positive
from npnet.metrics.spaces import FeatureSpace


@dataclass(frozen=True)
class ShapesPositions(FeatureSpace):
    """The centres of both objects in the prompt's order, in pixels, as the judge reads them.

    A picture that is not right is left out of this space. Where an object is missing or has another colour, its
    measured centre could lie anywhere, and would count as diversity.

    Args:
        width: of the Vendi score's Gaussian kernel, in pixels; our choice.
    """

    runtime = "npnet.metrics.runtime.shapes_positions:ShapesPositionSpace"
    domain = "shapes"
    unit = "pixels"

    width: Positive = 2.0

    @property
    def kernel_width(self) -> float:
        """See ``FeatureSpace.kernel_width``."""
        return self.width
