"""The settings of torch under which a worker computes, so that its results do not depend on the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_settings(threads: int, device: str) -> Iterator[None]:
    """Fix what changes the last bits of a sum, the thread count and the choice of convolution algorithms, and the GPU.

    The GPU is also made the process's current one, so that nothing lands on the first GPU by default.
    """
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic = before[1]
