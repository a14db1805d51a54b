"""NPNet: collect noise pairs, train the network that makes golden noise, and compare every noise method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from npnet.networks import NPNet

__version__ = "0.1.0"
__all__ = ["NPNet", "__version__"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and ``import npnet`` must not: a wrong command line is refused before it
    if name == "NPNet":
        from npnet.networks import NPNet

        return NPNet
    raise AttributeError(f"module 'npnet' has no attribute {name!r}")
