"""A job's chunks, computed by one or more worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from npnet.errors import UserError
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


class WorkerError(RuntimeError):
    """A worker failed or died; the message holds its traceback. Finished chunks stay."""


def run_job(
    job: Job,
    *,
    workers: int = 1,
    threads_per_worker: int = 1,
    title: str,
    describe: Callable[[dict[str, float]], str],
) -> int:
    """Compute every chunk that is not done, in order.

    Args:
        job: see ``Job``.
        workers: processes; 1 computes in this one. Each has a GPU of its own where there are as many.
        threads_per_worker: CPU threads of each.
        title: what the progress bar says in front.
        describe: makes the bar's text from the summed values of the reports (``kept 61 %``).

    Returns:
        How many chunks were computed now; 0 where all were done before.

    Raises:
        UserError: a worker met a user's mistake.
        WorkerError: a worker failed otherwise, or was killed.
    """
    done = [job.is_done(chunk) for chunk in range(job.num_chunks)]
    pending = [chunk for chunk in range(job.num_chunks) if not done[chunk]]
    if not pending:
        return 0
    finished = sum(job.num_samples(chunk) for chunk in range(job.num_chunks) if done[chunk])
    remaining = sum(job.num_samples(chunk) for chunk in pending)
    with Progress(title, describe, finished=finished, total=finished + remaining) as progress:
        if min(workers, len(pending)) == 1:
            _run_here(job, pending, threads_per_worker, progress)
        else:
            _run_in_processes(job, pending, min(workers, len(pending)), threads_per_worker, progress)
    return len(pending)


def _run_here(job: Job, pending: list[int], threads: int, progress: Progress) -> None:
    with _torch_settings(threads):
        job.setup(0, _device(0))
        progress.begin()
        for chunk in pending:
            job.run(chunk, progress.add)


@contextmanager
def _torch_settings(threads: int) -> Iterator[None]:
    """Fix what changes the last bits of a sum: the thread count, and the choice of convolution algorithms."""
    import torch

    before = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.deterministic = before[1]


def _device(worker: int) -> str:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{worker % count}" if count else "cpu"


# --- several processes -----------------------------------------------------------------------------------------------
#
# Each worker has a pipe of its own, because a shared queue can stay locked when one of its users is killed.
# Worker -> parent: ("report", Report), ("idle", None), ("user error", message), ("error", traceback).
# Parent -> worker: a chunk number, or None for the end.


def _run_in_processes(job: Job, pending: list[int], workers: int, threads: int, progress: Progress) -> None:
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, Any] = {}
    queue = iter(pending)
    with _interrupts_blocked():  # inherited by the workers: Ctrl-C reaches the parent alone, which ends them
        for number in range(workers):
            here, there = context.Pipe()
            process = context.Process(target=_worker, args=(job, number, threads, there), daemon=True)
            process.start()
            there.close()
            processes[here] = process
    try:
        while processes:
            for connection in wait(list(processes), timeout=1.0):
                _receive(connection, processes, queue, progress)
            progress.tick()
    finally:
        for process in processes.values():
            process.terminate()
        for connection, process in processes.items():
            process.join(5)
            if process.is_alive():
                process.kill()
            connection.close()


def _receive(connection: Any, processes: dict[Connection, Any], queue: Iterator[int], progress: Progress) -> None:
    try:
        kind, content = connection.recv()
    except (EOFError, OSError):
        process = processes[connection]
        process.join(5)
        raise WorkerError(
            f"a worker died with exit code {process.exitcode} (-9: killed, often for want of memory); "
            "finished chunks stay, run the same command to resume"
        ) from None
    if kind == "report":
        progress.add(content)
    elif kind == "user error":
        raise UserError(content)
    elif kind == "error":
        raise WorkerError(f"a worker failed:\n{content}")
    else:
        progress.begin()
        chunk = next(queue, None)
        connection.send(chunk)
        if chunk is None:
            processes.pop(connection).join(30)
            connection.close()


def _worker(job: Job, number: int, threads: int, connection: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with _torch_settings(threads):
            job.setup(number, _device(number))
            connection.send(("idle", None))
            while (chunk := connection.recv()) is not None:
                job.run(chunk, lambda report: connection.send(("report", report)))
                connection.send(("idle", None))
    except UserError as error:
        connection.send(("user error", str(error)))
    except Exception:
        connection.send(("error", traceback.format_exc()))


def _end_with_parent() -> None:
    """End this worker when its parent is gone, so that a killed run leaves nobody writing into the folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    # multiprocessing's own helper process unblocks the signal when it is started, so it is started first
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
