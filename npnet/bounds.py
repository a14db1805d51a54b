"""Bounds that a value of the right type must keep, for ``Annotated`` fields; see ``fields``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """A bound that a value of the right type must keep, and how the error line says it."""

    limit: float
    words = ""

    def holds(self, value: Any) -> bool:
        """Say whether ``value`` keeps the bound."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Return the bound in words."""
        return f"{self.words} {self.limit:g}"


class AtLeast(Rule):
    """``value >= limit``."""

    words = "of at least"

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return value >= self.limit


class AtMost(Rule):
    """``value <= limit``."""

    words = "of at most"

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return value <= self.limit


class Above(Rule):
    """``value > limit``."""

    words = "above"

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return value > self.limit


class Below(Rule):
    """``value < limit``."""

    words = "below"

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return value < self.limit


class MultipleOf(Rule):
    """A whole multiple of ``limit``."""

    words = "that is a multiple of"

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return value % self.limit == 0


@dataclass(frozen=True)
class NotEmpty:
    """A text, list or mapping with something in it."""

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return len(value) > 0

    def __str__(self) -> str:
        """Return the bound in words."""
        return "that is not empty"


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number of a size that tensors and files can hold: 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
