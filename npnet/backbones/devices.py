"""Where a model runs, and in which floating-point format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from npnet.errors import UserError, unknown

DTYPES = ("float32", "float16", "bfloat16")


def placed(node: Mapping[str, Any], device: str | None) -> dict[str, Any]:
    """Return a backbone's configuration with ``device`` in place of ``auto``; None leaves it.

    A worker passes its own GPU. A dry run, which computes nothing, passes ``meta``: the GPU that the run is meant for
    need not be here.
    """
    return {**node, "device": device} if device is not None and node.get("device", "auto") == "auto" else dict(node)


def resolve_device(device: str) -> torch.device:
    """Turn ``auto`` into the best device here, or check that the named one exists.

    Raises:
        UserError: the device is not a torch device, or is not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device={device!r} is not a torch device; allowed: auto, cpu, cuda, cuda:N") from error
    if resolved.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UserError(f"device={device!r}: there is no GPU here; allowed: auto, cpu")
        if (resolved.index or 0) >= count:
            raise UserError(f"device={device!r}: there are {count} GPUs here, cuda:0 to cuda:{count - 1}")
    elif resolved.type not in ("cpu", "meta"):
        here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if here is None or here.type != resolved.type:
            allowed = ", ".join(["auto", "cpu", *([here.type] if here else [])])
            raise UserError(f"device={device!r}: there is no such device here; allowed: {allowed}")
    return resolved


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Turn a name into the network's dtype on ``device``.

    Raises:
        UserError: the name is unknown, or the device cannot compute in it.
    """
    if dtype not in DTYPES:
        raise unknown("backbone.dtype", dtype, DTYPES)
    if device.type == "cpu" and dtype == "float16":
        raise UserError("backbone.dtype=float16 needs a GPU; allowed on the CPU: float32, bfloat16")
    if device.type == "cuda" and dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise UserError("backbone.dtype=bfloat16: this GPU cannot compute in it; allowed here: float32, float16")
    return getattr(torch, dtype)
