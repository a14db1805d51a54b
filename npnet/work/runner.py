"""A job's chunks: what a job is, and which of its chunks an engine is given to compute.

An *engine* computes chunks: ``processes.Processes`` on this machine, ``ray_actors.RayActors`` on many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from npnet import checks
from npnet.instantiate import build
from npnet.work.part import WHOLE, Part, part_of
from npnet.work.progress import Progress


@dataclass(frozen=True)
class Report:
    """What was done since the last report: ``done`` samples, and named ``values``, which are added up."""

    done: int
    values: dict[str, float] = field(default_factory=dict)


class Job(Protocol):
    """Work in chunks. With several workers the job is pickled, so it holds plain data until ``setup``."""

    num_chunks: int

    def is_done(self, chunk: int) -> bool:
        """Say whether the chunk's done-marker is there."""
        ...

    def num_samples(self, chunk: int) -> int:
        """Return how many samples the chunk holds."""
        ...

    def setup(self, worker: int, device: str) -> None:
        """Load what computing needs; called once in each worker's process. ``device`` is ``cpu`` or ``cuda:N``."""
        ...

    def run(self, chunk: int, report: Callable[[Report], None]) -> None:
        """Compute the chunk and write its files atomically, the done-marker last; report along the way."""
        ...


class Engine(Protocol):
    """Where chunks are computed: a node of ``conf/engine``."""

    def check(self) -> None:
        """Refuse, before anything is loaded or written, what this machine lacks."""
        ...

    def run(self, job: Job, chunks: Sequence[int], workers: Sequence[int], threads: int, progress: Progress) -> None:
        """Compute ``chunks`` with one worker for each number in ``workers``, each with ``threads`` CPU threads.

        Raises:
            UserError: a worker met a user's mistake.
            WorkerError: a worker failed otherwise, or was lost for good.
        """
        ...


class WorkerError(RuntimeError):
    """A worker failed or died; the message holds its traceback. Finished chunks stay."""


@dataclass(frozen=True)
class Workers:
    """Who computes a job.

    Attributes:
        engine: where.
        part: which chunks are ours; the others are neither computed nor looked at.
        count: how many compute at the same time. Worker w of part i has the number i * count + w, which decides its GPU
            where there are several.
        threads: CPU threads of each.
    """

    engine: Engine
    part: Part = WHOLE
    count: int = 1
    threads: int = 1

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Workers:
        """Read the keys ``engine``, ``worker``, ``workers`` and ``threads_per_worker``.

        Raises:
            UserError: a value that cannot be, or what the engine needs is not installed.
        """
        count, threads = (checks.positive_int(config, key) for key in ("workers", "threads_per_worker"))
        part = part_of(config)
        engine = build(config["engine"], "engine")
        engine.check()
        return cls(engine, part, count, threads)


def run_job(job: Job, workers: Workers, *, title: str, describe: Callable[[dict[str, float]], str]) -> int:
    """Compute every chunk of ``workers.part`` that is not done, in order.

    Args:
        job: see ``Job``.
        workers: compute them.
        title: what the progress bar says in front.
        describe: makes the bar's text from the summed values of the reports (``kept 61 %``).

    Returns:
        How many chunks were computed now; 0 where all were done before.

    Raises:
        UserError, WorkerError: see ``Engine.run``.
    """
    chunks = workers.part.chunks(job.num_chunks)
    pending = [chunk for chunk in chunks if not job.is_done(chunk)]
    if not pending:
        return 0
    total = sum(job.num_samples(chunk) for chunk in chunks)
    finished = total - sum(job.num_samples(chunk) for chunk in pending)
    first = workers.part.index * workers.count
    numbers = range(first, first + min(workers.count, len(pending)))
    with Progress(title, describe, finished=finished, total=total) as progress:
        workers.engine.run(job, pending, numbers, workers.threads, progress)
    return len(pending)


@contextmanager
def torch_settings(threads: int, device: str) -> Iterator[None]:
    """Fix what changes the last bits of a sum, the thread count and the choice of convolution algorithms, and the GPU.

    The GPU is also made the process's current one, so that nothing lands on the first GPU by default.
    """
    import torch

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
