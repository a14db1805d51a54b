"""The peak memory while a method ran: allocated on the GPU, or held by this process on Linux.

On a GPU it is the memory that torch allocated. On the CPU torch does not count, so it is the resident memory of the
whole process, with Python and all loaded models, after unused memory was returned. So methods of one run can be
compared, and the graph of a gradient shows. Other systems than Linux give None.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from npnet.metrics.runtime.base import Scorer
from npnet.work.heap import give_back

PROCESS = Path("/proc/self")


def start_peak(device: torch.device) -> bool:
    """Forget earlier peaks; False where the peak cannot be measured."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return True
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return False
    give_back()
    try:
        (PROCESS / "clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return False
    return True


def peak_bytes(device: torch.device) -> int | None:
    """Return the most memory held since ``start_peak`` said True, once ``device`` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    for line in (PROCESS / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return 1024 * int(value.split()[0])
    return None


def seconds_once_done(device: torch.device, started: float) -> float:
    """Return the seconds since ``started``, after this thread's work on ``device`` is done."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return time.perf_counter() - started


def scorer_calls(scorers: Iterable[Scorer]) -> int:
    """Return how many pictures the scorers scored so far."""
    return sum(scorer.meter.calls for scorer in scorers)
