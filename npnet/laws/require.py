"""How a law says that it is broken; Python's own ``assert`` would be silent under ``python -O``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def require(holds: object, otherwise: str) -> None:
    """Go on where something holds.

    Raises:
        AssertionError: it does not; the message is ``otherwise``.
    """
    if not holds:
        raise AssertionError(otherwise)


def require_refusal(kind: type[Exception], act: Callable[[], Any], otherwise: str) -> str:
    """Return what the error says that ``act`` must raise.

    Raises:
        AssertionError: it raises none.
    """
    try:
        act()
    except kind as error:
        return str(error)
    raise AssertionError(otherwise)
