"""The handling of freed memory by glibc; with other C libraries, nothing happens here."""

from __future__ import annotations

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of mallopt(3)."""


def keep_freed() -> None:
    """Keep memory that an operator freed for the next one; returning it takes a seventh of the time of sampling."""
    _call("mallopt", MMAP_THRESHOLD, 1 << 26)
    _call("mallopt", TRIM_THRESHOLD, 1 << 30)


def give_back() -> None:
    """Return free memory to the system."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    with suppress(OSError, AttributeError):  # another C library lacks them
        getattr(ctypes.CDLL(None), name)(*arguments)
