"""The two noises of an ``INDEX_SEED.npz`` file of the published layout, read safely."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from npnet.errors import UserError, reworded

MAX_ARRAY_BYTES = 1 << 28
"""Of one noise; a file that claims more is refused before it is read."""
UNPACKED_BYTES, MOST_PACKED = 1 << 20, 20
"""Noise cannot be packed; what is larger than the first and shrank by more than the second is refused unread."""


def read_npz(path: Path, index: int) -> tuple[Tensor, Tensor]:
    """Read the two noises of a file, float32 ``(C, *grid)``; nothing in it is unpickled.

    Raises:
        UserError: it is not such a file.
    """
    kinds = (OSError, ValueError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zipfile.LargeZipFile)
    with reworded(kinds, UserError, f"{path}: is not a pair of noises: "):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.file_size > MAX_ARRAY_BYTES:
                    raise ValueError(f"an array is larger than {MAX_ARRAY_BYTES} bytes")
                if entry.file_size > UNPACKED_BYTES + MOST_PACKED * entry.compress_size:
                    raise ValueError(
                        f"{entry.file_size} bytes are packed into {entry.compress_size}: this cannot be noise"
                    )
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in ("arr_0", "arr_1") if name not in arrays]
            if missing:
                raise ValueError(f"has no {missing[0]} (got: {', '.join(arrays)})")
            source, golden = arrays["arr_0"], arrays["arr_1"]
            number = arrays["arr_2"] if "arr_2" in arrays else np.asarray(index)
        if not all(isinstance(array, np.ndarray) for array in (source, golden, number)):
            raise ValueError("a member is not an array")
        if number.dtype.kind not in "iuf":
            raise ValueError(f"arr_2 is {number.dtype}, not an index")
        own = int(number.item())
        if own != index:
            raise ValueError(f"its arr_2 says index {own}")
        if source.dtype.kind != "f" or golden.dtype.kind != "f" or source.shape != golden.shape:
            raise ValueError(f"arr_0 is {source.dtype} {source.shape}, arr_1 {golden.dtype} {golden.shape}")
        shape = source.shape[1:] if source.ndim > 3 and source.shape[0] == 1 else source.shape
        if len(shape) < 2 or not source.size:
            raise ValueError(f"noises of shape (1, C, h, w) are needed, got {source.shape}")
        first, second = (torch.from_numpy(array.astype(np.float32).reshape(shape)) for array in (source, golden))
        return first, second
