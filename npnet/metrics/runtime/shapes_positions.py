"""The runtime of ``npnet.metrics.shapes_positions``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from npnet.metrics.runtime.space import LoadedSpace
from npnet.shapes.judge import judge


class ShapesPositionSpace(LoadedSpace):
    """Geometry alone; there is nothing to load."""

    def features(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """See ``LoadedSpace.features``: ``(B, 4)`` pixels, x and y of the first object, then of the second."""
        verdict = judge(images.detach().cpu().float(), prompts)
        return verdict.positions.masked_fill(~verdict.all_correct[:, None], float("nan"))
