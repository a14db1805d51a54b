"""The driver of ``engine=ray``: its workers are actors, and another one repeats the chunk of a lost one.

The driver, the process that was started, holds the queue of chunks. Every machine needs the project at the same path,
and its input and output folders on a shared file system. An actor gets a GPU if the cluster has GPUs.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray

from npnet.errors import UserError, reworded
from npnet.work.job import Advance, Job, WorkerError, WorkerLost
from npnet.work.numerics import Numerics
from npnet.work.progress import Progress
from npnet.work.ray_actors import RayActors
from npnet.work.ray_worker import RayWorker

POLL_SECONDS = 1.0
SHARED_SECONDS = 60.0
"""Within this time a network file system shows here what another machine wrote."""


def compute(
    engine: RayActors, job: Job, chunks: Sequence[int], workers: Sequence[int], numerics: Numerics, progress: Progress
) -> None:
    """See ``Engine.run``. Workers for which the cluster has no room wait for it."""
    ours = not ray.is_initialized()
    if ours:
        _connect(engine.address)
    try:
        _Crew(job, numerics, progress, engine.retries).compute(chunks, workers)
    finally:
        if ours:
            ray.shutdown()


def _connect(address: str | None) -> None:
    where = address or os.environ.get("RAY_ADDRESS", "")
    if re.fullmatch(r"[^/]+:\d+", where):  # Ray itself tries for minutes
        host, _, port = where.rpartition(":")
        with reworded(OSError, UserError, f"engine.address={where}: no Ray cluster answers: "):
            socket.create_connection((host, int(port)), timeout=10).close()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what will be the default; Ray warns without it
    # results go through the file system, so Ray's own store stays at its smallest
    alone = {"include_dashboard": False, "object_store_memory": 80_000_000}
    options = {} if where else alone
    kinds = (ConnectionError, ValueError, RuntimeError)
    with reworded(kinds, UserError, f"engine.address={where}: Ray cannot be started or joined: "):
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **options)


@dataclass
class _Worker:
    """An actor, and what it is doing: setting up while ``chunk`` is None."""

    number: int
    actor: Any
    chunk: int | None = None
    counted: Advance = field(default_factory=lambda: Advance(0))
    """What the progress knows of the chunk."""
    question: Any = None
    """The reference to its answer on how far it is."""
    has_delivered: bool = False


class _Crew:
    def __init__(self, job: Job, numerics: Numerics, progress: Progress, retries: int) -> None:
        self.job, self.progress, self.retries, threads = job, progress, retries, numerics.threads
        gpus = int(ray.cluster_resources().get("GPU", 0) >= 1)
        cpus = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
        if not gpus and threads > cpus:
            raise UserError(f"threads_per_worker={threads}: no machine of the Ray cluster has more than {cpus:g} CPUs")
        # two calls at once: one computes, the other says how far it is
        self.make = ray.remote(num_cpus=1 if gpus else threads, num_gpus=gpus, max_concurrency=2)(RayWorker).remote
        self.arguments = (ray.put(job), numerics, "cuda:0" if gpus else "cpu", str(Path.cwd()))
        self.queue: deque[int] = deque()
        self.busy: dict[Any, _Worker] = {}
        """By the reference to what each does."""
        self.losses: Counter[int | None] = Counter()
        self.expected: dict[int, float] = {}
        """Chunks computed elsewhere, and until when their done-markers must be seen here."""

    def compute(self, chunks: Sequence[int], workers: Sequence[int]) -> None:
        self.queue.extend(chunks)
        try:
            for number in workers:
                self._hire(number)
            while self.busy or self.expected:
                self._wait()
                for worker in self.busy.values():
                    self._ask(worker)
                self._look_for_files()
                self.progress.tick()
        finally:
            for worker in self.busy.values():
                self._release(worker)

    def _hire(self, number: int) -> None:
        actor = self.make(number, *self.arguments)
        self.busy[actor.setup.remote()] = _Worker(number, actor)

    def _release(self, worker: _Worker) -> None:
        with suppress(ray.exceptions.RayError, ValueError):
            ray.kill(worker.actor)

    def _wait(self) -> None:
        if not self.busy:
            time.sleep(POLL_SECONDS)
            return
        ready, _ = ray.wait(list(self.busy), timeout=POLL_SECONDS)
        for reference in ready:
            worker = self.busy.pop(reference)
            try:
                kind, content = ray.get(reference)
            except ray.exceptions.RayError as error:
                self._replace(worker, error)
                continue
            if kind != "done":
                self._release(worker)
                raise UserError(content) if kind == "user error" else WorkerError(f"a worker failed:\n{content}")
            self._finish(worker, content)
            self._give(worker)

    def _finish(self, worker: _Worker, total: Advance) -> None:
        self.progress.begin()
        if worker.chunk is None:
            self.losses[None] = 0
            return
        self._count(worker, total)
        if not worker.has_delivered:
            worker.has_delivered = True
            self.expected[worker.chunk] = time.monotonic() + SHARED_SECONDS

    def _give(self, worker: _Worker) -> None:
        """Give a free worker the next chunk; without one, workers that are still setting up are not needed."""
        if self.queue:
            worker.chunk, worker.counted, worker.question = self.queue.popleft(), Advance(0), None
            self.busy[worker.actor.run.remote(worker.chunk)] = worker
            return
        self._release(worker)
        for reference, other in list(self.busy.items()):
            if other.chunk is None:
                self._release(self.busy.pop(reference))

    def _replace(self, worker: _Worker, error: Exception) -> None:
        """Take back what a lost worker reported, and let a new one do its chunk again."""
        self._release(worker)
        self._count(worker, Advance(0))
        self.losses[worker.chunk] += 1
        what = "while loading" if worker.chunk is None else f"with chunk {worker.chunk}"
        if self.losses[worker.chunk] > self.retries:
            raise WorkerLost(
                f"a worker was lost {what} more than engine.retries={self.retries} times; finished chunks stay, "
                f"run the same command to resume; Ray says: {error}"
            )
        self.progress.say(f"worker {worker.number} was lost {what}; another worker takes over")
        if worker.chunk is not None:
            self.queue.appendleft(worker.chunk)
        self._hire(worker.number)

    def _ask(self, worker: _Worker) -> None:
        if worker.chunk is None:
            return
        if worker.question is None:
            worker.question = worker.actor.reported.remote()
        ready, _ = ray.wait([worker.question], timeout=0)
        if ready:
            worker.question = None
            with suppress(ray.exceptions.RayError):  # it is lost, which _wait will hear too
                chunk, total = ray.get(ready[0])
                if chunk == worker.chunk:
                    self._count(worker, total)

    def _count(self, worker: _Worker, total: Advance) -> None:
        before, worker.counted = worker.counted, total
        names = before.values.keys() | total.values.keys()
        difference = {name: total.values.get(name, 0) - before.values.get(name, 0) for name in sorted(names)}
        if total != before:
            self.progress.add(Advance(total.done - before.done, difference))

    def _look_for_files(self) -> None:
        """Refuse to continue if the machines do not write into the same folder."""
        for chunk, end in list(self.expected.items()):
            if self.job.is_done(chunk):
                del self.expected[chunk]
            elif time.monotonic() > end:
                raise UserError(
                    f"output_dir: chunk {chunk} was computed on another machine and is not here after "
                    f"{SHARED_SECONDS:.0f} s; with engine=ray it must be on a file system that all machines share"
                )
