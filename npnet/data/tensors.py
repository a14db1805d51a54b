"""Tensors that may come from a stranger: the one reader of bytes in safetensors' format, with bounds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from npnet.errors import reworded

MOST_TENSORS, MOST_DIMENSIONS = 64, 8
DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)


def load_tensors(data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a file in safetensors' format, which holds no code.

    Raises:
        ValueError: it is not one, or holds tensors that this project never writes: too many, without size, with too
            many dimensions, or of an odd dtype.
    """
    with (
        reworded(safetensors.SafetensorError, ValueError, "is not in safetensors' format: "),
        reworded(KeyError, ValueError, "is not in safetensors' format: the dtype "),
    ):
        tensors = safetensors.torch.load(data)
    if len(tensors) > MOST_TENSORS:
        raise ValueError(f"holds {len(tensors)} tensors; at most {MOST_TENSORS} are read")
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES or not 1 <= tensor.ndim <= MOST_DIMENSIONS or not tensor.numel():
            raise ValueError(f"{name} must be a tensor with values in it, got {tensor.dtype} {tuple(tensor.shape)}")
    return tensors


def is_finite(tensor: Tensor) -> bool:
    """Say whether every value is finite."""
    # NaN and infinity survive a sum, which is 15 times as fast; only one of huge finite numbers has to be looked at
    total = tensor.sum(dtype=torch.float32 if tensor.is_floating_point() and tensor.itemsize == 2 else None)
    return math.isfinite(total) or bool(torch.isfinite(tensor).all())


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 of names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
