"""The workers of ``engine=processes``: processes on this machine, each with its own GPU if there are enough.

A single worker runs in this process. A worker that fails or dies ends the run; finished chunks stay.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from npnet.errors import UserError
from npnet.work.job import Engine, Job, WorkerError, WorkerLost
from npnet.work.numerics import Numerics
from npnet.work.progress import Progress
from npnet.work.torch_settings import torch_settings


def compute(
    engine: Engine, job: Job, chunks: Sequence[int], workers: Sequence[int], numerics: Numerics, progress: Progress
) -> None:
    """See ``Engine.run``."""
    devices = [device_of(worker) for worker in workers]
    if len(set(devices)) < len(devices) and devices[0] != "cpu":
        progress.say(f"{len(devices)} workers share {len(set(devices))} GPUs")
    if len(workers) == 1:
        _run_here(job, chunks, workers[0], numerics, devices[0], progress)
    else:
        _run_in_processes(job, chunks, list(zip(workers, devices, strict=True)), numerics, progress)


def device_of(worker: int) -> str:
    """Return the device of worker number ``worker``: GPU ``worker`` modulo the number of visible GPUs, or the CPU."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{worker % count}" if count else "cpu"


def _run_here(
    job: Job, chunks: Sequence[int], worker: int, numerics: Numerics, device: str, progress: Progress
) -> None:
    with torch_settings(numerics, device):
        job.setup(worker, device)
        progress.begin()
        for chunk in chunks:
            job.run(chunk, progress.add)


# --- several processes ------------------------------------------------------------------------------------------------
#
# Each worker has its own pipe, because a shared queue can stay locked when one of its users is killed.
# Worker -> parent: ("advance", Advance), ("idle", None), ("user error", message), ("error", traceback).
# Parent -> worker: a chunk number, or None for the end.


def _run_in_processes(
    job: Job, chunks: Sequence[int], workers: Sequence[tuple[int, str]], numerics: Numerics, progress: Progress
) -> None:
    context = multiprocessing.get_context("spawn")
    processes: dict[Connection, Any] = {}
    queue = iter(chunks)
    with _interrupts_blocked():  # inherited by the workers: Ctrl-C reaches the parent alone, which ends them
        for number, device in workers:
            here, there = context.Pipe()
            process = context.Process(target=_worker, args=(job, number, device, numerics, there), daemon=True)
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
        raise WorkerLost(
            f"a worker died with exit code {process.exitcode} (-9: killed, often because memory ran out); "
            "finished chunks are kept; run the same command to resume"
        ) from None
    if kind == "advance":
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


def _worker(job: Job, number: int, device: str, numerics: Numerics, connection: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with torch_settings(numerics, device):
            job.setup(number, device)
            connection.send(("idle", None))
            while (chunk := connection.recv()) is not None:
                job.run(chunk, lambda advance: connection.send(("advance", advance)))
                connection.send(("idle", None))
    except UserError as error:
        connection.send(("user error", str(error)))
    except Exception:
        connection.send(("error", traceback.format_exc()))


def _end_with_parent() -> None:
    """End this worker when its parent has died, so that no process of a killed run writes into the folder."""
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
