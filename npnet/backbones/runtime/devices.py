"""The device and the floating-point format of a model."""

from __future__ import annotations

import torch

from npnet.backbones.base import Backbone
from npnet.errors import FieldError
from npnet.work.devices import resolve_device


def placement(description: Backbone, device: str | None = None) -> tuple[torch.device, torch.dtype]:
    """Return where a described model runs, and in which format.

    Args:
        description: of the model.
        device: instead of the description's; None is its own.

    Raises:
        UserError: this machine lacks the device, or the device cannot compute in the format.
    """
    resolved = resolve_device(device or description.device)
    return resolved, resolve_dtype(description.dtype, resolved)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Turn a name into the network's dtype on ``device``.

    Raises:
        FieldError: the device cannot compute in it.
    """
    if device.type == "cpu" and dtype == "float16":
        raise FieldError("dtype", dtype, "float16 needs a GPU; allowed on the CPU: float32, bfloat16")
    if device.type == "cuda" and dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        raise FieldError("dtype", dtype, "this GPU does not support it; allowed here: float32, float16")
    return getattr(torch, dtype)
