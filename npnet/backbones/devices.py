"""The device that a configuration names for a model, known before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def placed(node: Mapping[str, Any], device: str | None) -> dict[str, Any]:
    """Return a backbone's configuration with ``device`` in place of ``auto``; None leaves it.

    A worker passes its own GPU. A dry run, which computes nothing, passes ``meta``, because the GPU for the run may be
    in another machine.
    """
    return {**node, "device": device} if device is not None and node.get("device", "auto") == "auto" else dict(node)
