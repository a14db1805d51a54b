"""The GPUs of this machine."""

from __future__ import annotations

from typing import Any

import torch


def devices() -> dict[str, Any]:
    """Return a line for each GPU, and the CUDA that torch was built for."""
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    found = [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus]
    return {"cuda": torch.version.cuda or "none", "gpus": found or "none"}
