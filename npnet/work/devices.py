"""Checks of a device that a user names; only this module asks torch which devices exist."""

from __future__ import annotations

import torch

from npnet.errors import FieldError


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
        raise FieldError("device", device, "is not a torch device; allowed: auto, cpu, cuda, cuda:N") from error
    if resolved.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise FieldError("device", device, "there is no GPU here; allowed: auto, cpu")
        if (resolved.index or 0) >= count:
            raise FieldError("device", device, f"there are {count} GPUs here, cuda:0 to cuda:{count - 1}")
    elif resolved.type not in ("cpu", "meta"):
        here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        if here is None or here.type != resolved.type:
            allowed = ", ".join(["auto", "cpu", *([here.type] if here else [])])
            raise FieldError("device", device, f"there is no such device here; allowed: {allowed}")
    return resolved


def check_accelerator(name: str) -> None:
    """Refuse an accelerator that this machine lacks; Lightning says so only when it builds a trainer.

    Raises:
        FieldError: names it.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    here["gpu"] = here["cuda"] or here["mps"]
    if not here.get(name, True):
        raise FieldError("accelerator", name, "there is no such device here; allowed: auto, cpu")
