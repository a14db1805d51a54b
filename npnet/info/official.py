"""Facts of a published ``.pth`` file of the authors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from npnet.errors import UserError, reworded
from npnet.networks import NPNet
from npnet.networks.stored import OFFICIAL_SELECTED_BY


def official(path: Path) -> dict[str, Any]:
    """Read the file, every key and shape checked.

    Raises:
        UserError: it is no official checkpoint.
    """
    with reworded((ValueError, OSError), UserError):
        network = NPNet.from_pretrained(str(path))
    return {
        "kind": "official network",
        "file": str(path),
        "bytes": path.stat().st_size,
        "selected_by": list(OFFICIAL_SELECTED_BY),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "config": network.config,
    }
