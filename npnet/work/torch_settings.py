"""The settings of torch under which a worker computes, so that its results do not depend on the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from npnet.work.heap import keep_freed
from npnet.work.numerics import Numerics


@contextmanager
def torch_settings(numerics: Numerics, device: str) -> Iterator[None]:
    """Fix the settings that decide how sums are rounded (see ``apply``), the convolution algorithms, and the GPU.

    It also makes the GPU the current one, so that nothing is put on the first GPU by default.
    """
    cudnn = torch.backends.cudnn
    before = Numerics(torch.get_num_threads(), torch.get_float32_matmul_precision(), cudnn.allow_tf32)  # type: ignore[arg-type]
    deterministic = cudnn.deterministic
    apply(numerics)
    cudnn.deterministic = True
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    try:
        yield
    finally:
        apply(before)
        cudnn.deterministic = deterministic


def apply(numerics: Numerics) -> None:
    """Apply the settings to torch in this process."""
    torch.set_num_threads(numerics.threads)
    torch.set_float32_matmul_precision(numerics.float32_matmul_precision)
    torch.backends.cudnn.allow_tf32 = numerics.cudnn_tf32
    keep_freed()
