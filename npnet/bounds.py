"""Bounds on values, for ``Annotated`` fields, and the bounded types that are in use; see ``fields``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any


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


@dataclass(frozen=True)
class Holds:
    """A text with another one in it."""

    part: str

    def holds(self, value: str) -> bool:
        """See ``Rule.holds``."""
        return self.part in value

    def __str__(self) -> str:
        """Return the bound in words."""
        return f"with {self.part} in it"


@dataclass(frozen=True)
class Plain:
    """A rule: a name as the hub has them."""

    def holds(self, value: str) -> bool:
        """See ``Rule.holds``."""
        return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+_-]*", value) is not None

    def __str__(self) -> str:
        """Return the rule in words."""
        return "of letters, digits and . + _ - alone"


@dataclass(frozen=True)
class NotHuge(Rule):
    """``|value| <= limit``; the bound is so wide that it is named only when a value exceeds it."""

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return abs(value) <= self.limit

    def __str__(self) -> str:
        """Return the bound in words."""
        return f"(at most {self.limit:g} in size)"


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number of a size that tensors and files can hold: 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_number(value: Any) -> bool:
    """Say whether a value is a finite number, and no bool."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


MAX_RUN_SEED = 2**32 - 1
"""The largest ``seed`` of a run: numpy's generators and Lightning take no larger one."""
MAX_SEED = 2**63 - 1
"""The largest seed of a sample's noise: of a ``torch.Generator`` as it is used here."""
Count = Annotated[int, AtLeast(1)]
"""A whole number of at least 1."""
Whole = Annotated[int, AtLeast(0)]
"""A whole number of at least 0."""
Seed = Annotated[int, AtLeast(0), AtMost(MAX_RUN_SEED)]
LARGE = NotHuge(1e6)
"""No weight, rate or limit of ours means anything beyond it: such a number is a slip of the pen."""
Number = Annotated[float, LARGE]
"""A setting of any sign; what is read of a file is a plain ``float``."""
Positive = Annotated[float, Above(0), LARGE]
NotNegative = Annotated[float, AtLeast(0), LARGE]
"""For weights, limits, ..."""
Guidance = Annotated[float, AtLeast(0), NotHuge(1000)]
"""A guidance scale; the largest in use are below 100."""
NumWorkers = Annotated[int, AtLeast(1), NotHuge(4096)]
"""Processes."""
Resamples = Annotated[int, AtLeast(40), AtMost(1e6)]
"""Draws of a bootstrap: 2.5 % of fewer than 40 are not one."""
Share = Annotated[float, AtLeast(0), AtMost(1)]
Name = Annotated[str, NotEmpty()]
"""A text that is not empty: a path, a name."""
Question = Annotated[str, Holds("{}")]
"""To a model, with the place of the prompt."""
Identifier = Annotated[str, Plain()]
"""A short name, as of a license."""
