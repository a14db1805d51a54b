"""Write weights whole or not at all, with the permissions of the umask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from npnet.work.atomic import write_bytes


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all; its mode is the umask's, where safetensors itself gives 0600.

    Args:
        path: to write.
        tensors: by name, contiguous, no two sharing memory.
        metadata: texts kept in the file's header.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    write_bytes(path, safetensors.torch.save(dict(tensors), dict(metadata) if metadata is not None else None))
