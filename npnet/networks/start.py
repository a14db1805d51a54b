"""What a network that starts from another one's weights took from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from npnet.fit import optimised_metrics


@dataclass(frozen=True)
class Start:
    """What was made of another network's weights.

    Attributes:
        fresh: own weights that were left newly initialised.
        dropped: the other's weights that have no place here.
        trained_for: what the other network says of its training; a stranger's, so nothing is built from it.
    """

    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    trained_for: Mapping[str, Any] = field(default_factory=dict)

    @property
    def optimised(self) -> list[str]:
        """Metrics that the other network was given to improve: those of its loss, and those that selected its pairs."""
        return optimised_metrics(self.trained_for)
