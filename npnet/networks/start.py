"""What a network that starts from another one's weights took from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """What was made of another network's weights.

    Attributes:
        fresh: own weights that were left newly initialised.
        dropped: the other's weights that have no place here.
    """

    fresh: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
