"""What a network took from the weights of another one at the start of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from npnet.fit import optimised_metrics


@dataclass(frozen=True)
class Start:
    """What was used of another network's weights.

    Attributes:
        fresh: weights of this network that stay newly initialised.
        dropped: weights of the other network that are not used.
        trained_for: what the other network says about its training. It may come from a stranger, so nothing is built
            from it.
    """

    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    trained_for: Mapping[str, Any] = field(default_factory=dict)

    @property
    def optimised(self) -> list[str]:
        """Metrics that the other network was given to improve: those of its loss, and those that selected its pairs."""
        return optimised_metrics(self.trained_for)
