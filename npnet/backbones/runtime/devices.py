"""Where a model runs, and in which floating-point format."""

from __future__ import annotations

import torch

from npnet.backbones.base import Backbone
from npnet.errors import FieldError, UserError


def placement(description: Backbone, device: str | None = None) -> tuple[torch.device, torch.dtype]:
    """Return where a described model runs, and in which format.

    Args:
        description: of the model.
        device: instead of the description's; None is its own.

    Raises:
        UserError: the device is not here, or cannot compute in the format.
    """
    resolved = resolve_device(device or description.device)
    return resolved, resolve_dtype(description.dtype, resolved)


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
        FieldError: the device cannot compute in it.
    """
    if device.type == "cpu" and dtype == "float16":
        raise FieldError("dtype", dtype, "float16 needs a GPU; allowed on the CPU: float32, bfloat16")
    if device.type == "cuda" and dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise FieldError("dtype", dtype, "this GPU cannot compute in it; allowed here: float32, float16")
    return getattr(torch, dtype)
