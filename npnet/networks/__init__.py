"""Networks that map noise and a prompt to golden noise: the contract, NPNet and its parts, and how they are stored."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npnet.networks.base import NoiseNetwork
    from npnet.networks.initialise import initialise_from
    from npnet.networks.named import network_class
    from npnet.networks.npnet import NPNet
    from npnet.networks.start import Start
    from npnet.networks.svd import Decomposition, decompose

__all__ = ["Decomposition", "NPNet", "NoiseNetwork", "Start", "decompose", "initialise_from", "network_class"]

_HOMES = {
    "Decomposition": "svd",
    "NPNet": "npnet",
    "NoiseNetwork": "base",
    "Start": "start",
    "decompose": "svd",
    "initialise_from": "initialise",
    "network_class": "named",
}
"""What needs torch is imported when it is asked for: a network's arguments are checked without it."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"npnet.networks.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'npnet.networks' has no attribute {name!r}")
