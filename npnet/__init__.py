"""NPNet: collect noise pairs, train a network that makes golden noise, and compare noise methods."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npnet.networks import NPNet
    from npnet.pipelines import GoldenNoise

__version__ = "0.1.0"
DISTRIBUTION = "npnet-lightning"
"""As pip knows this project; ``npnet`` is another one, with the same import name."""
__all__ = ["GoldenNoise", "NPNet", "__version__"]

_HOMES = {"GoldenNoise": "npnet.pipelines", "NPNet": "npnet.networks"}
"""Torch takes seconds to import, and ``import npnet`` must not: a wrong command line is refused before it."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'npnet' has no attribute {name!r}")
