"""Jobs, their chunks and workers, and the choice of the chunks to compute.

An *engine* computes chunks: ``processes.Processes`` on this machine, ``ray_actors.RayActors`` on many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from npnet.description import Description, imported
from npnet.errors import MachineError
from npnet.work.numerics import Numerics, RunKeys
from npnet.work.progress import Progress
from npnet.work.share import WHOLE, ArrayWorker, Share


@dataclass(frozen=True)
class Advance:
    """Progress since the last advance: ``done`` samples, and named ``values``, which are added up."""

    done: int
    values: dict[str, float] = field(default_factory=dict)


class Job(Protocol):
    """Work in chunks. With several workers the job is pickled, so it holds plain data until ``setup``."""

    num_chunks: int

    def is_done(self, chunk: int) -> bool:
        """Say whether the chunk's done-marker exists."""
        ...

    def num_samples(self, chunk: int) -> int:
        """Return how many samples the chunk holds."""
        ...

    def setup(self, worker: int, device: str) -> None:
        """Load what the computation needs, once in each worker's process. ``device`` is ``cpu`` or ``cuda:N``."""
        ...

    def run(self, chunk: int, advance: Callable[[Advance], None]) -> None:
        """Compute the chunk and write its files atomically, the done-marker last; report to ``advance`` on the way."""
        ...


@dataclass(frozen=True)
class Engine(Description):
    """The place where chunks are computed: a YAML of ``conf/engine``."""

    compute: ClassVar[str]
    """The place of what computes, ``"module:function"``: it is given the engine, and then what ``run`` is given."""

    def run(
        self, job: Job, chunks: Sequence[int], workers: Sequence[int], numerics: Numerics, progress: Progress
    ) -> None:
        """Compute ``chunks`` with one worker for each number in ``workers``, each as ``numerics`` says.

        Raises:
            UserError: a worker found a mistake of the user.
            WorkerError: a worker failed for another reason, or was lost.
        """
        imported(self.compute)(self, job, chunks, workers, numerics, progress)


class WorkerError(RuntimeError):
    """A worker failed or died; the message holds its traceback. Finished chunks stay."""


class WorkerLost(WorkerError, MachineError):
    """A worker was killed; finished chunks stay."""


@dataclass(frozen=True)
class Workers:
    """The workers of a job.

    Attributes:
        engine: where.
        share: the chunks of this command; the others are ignored.
        count: number of workers at the same time. Worker w of share i has the number i * count + w, which decides its
            GPU.
        numerics: of each.
    """

    engine: Engine
    share: Share = WHOLE
    count: int = 1
    numerics: Numerics = field(default=Numerics())


@dataclass(frozen=True, kw_only=True)
class WorkSettings(RunKeys):
    """The keys of every command that computes a job."""

    engine: Engine
    worker: ArrayWorker | None = None

    def crew(self) -> Workers:
        """Return who computes.

        Raises:
            UserError: what the engine needs is not on this machine.
        """
        self.engine.check()
        share = WHOLE if self.worker is None else self.worker.share
        return Workers(self.engine, share, self.workers, self.numerics)


def run_job(job: Job, workers: Workers, *, title: str, describe: Callable[[dict[str, float]], str]) -> int:
    """Compute every chunk of ``workers.share`` that is not done, in order.

    Args:
        job: see ``Job``.
        workers: compute them.
        title: the start of the progress line.
        describe: makes the bar's text from the summed values of the advances (``kept 61 %``).

    Returns:
        The number of chunks computed now; 0 where all were done before.

    Raises:
        UserError, WorkerError: see ``Engine.run``.
    """
    chunks = workers.share.chunks(job.num_chunks)
    pending = [chunk for chunk in chunks if not job.is_done(chunk)]
    if not pending:
        return 0
    total = sum(job.num_samples(chunk) for chunk in chunks)
    finished = total - sum(job.num_samples(chunk) for chunk in pending)
    first = workers.share.index * workers.count
    numbers = range(first, first + min(workers.count, len(pending)))
    with Progress(title, describe, finished=finished, total=total) as progress:
        workers.engine.run(job, pending, numbers, workers.numerics, progress)
    return len(pending)
