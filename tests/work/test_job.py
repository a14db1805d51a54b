"""Jobs are defined here, at the top of a module, so that spawned workers can import them."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from npnet.errors import UserError
from npnet.messages import plain_messages
from npnet.work import atomic
from npnet.work.job import Advance, WorkerError, WorkerLost, Workers, run_job
from npnet.work.numerics import Numerics
from npnet.work.pool import device_of
from npnet.work.processes import Processes
from npnet.work.progress import Progress, duration
from npnet.work.share import Share


@dataclass
class Squares:
    """Chunk i writes ``i`` with its square and its worker; ``fault`` is what chunk 2 does instead."""

    folder: Path
    fault: str = ""
    num_chunks: int = 5
    worker: int = -1

    def is_done(self, chunk):
        return (self.folder / str(chunk)).exists()

    def num_samples(self, chunk):
        return 3

    def setup(self, worker, device):
        import torch

        self.worker, self.threads, self.device = worker, torch.get_num_threads(), device

    def run(self, chunk, report):
        if chunk == 2 and self.fault:
            self.fail()
        for _ in range(3):
            report(Advance(1, {"square": chunk**2}))
        line = f"{chunk**2} {self.threads}"
        atomic.write_bytes(self.folder / str(chunk), line.encode())
        atomic.write_bytes(self.folder / f"worker-{self.worker}", b"")

    def fail(self):
        if self.fault == "user":
            raise UserError("chunk 2 is not wanted")
        if self.fault == "bug":
            raise ZeroDivisionError("chunk 2")
        if self.fault == "interrupt":
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGKILL)


def run(job, workers=1, **settings):
    crew = Workers(Processes(), count=workers, **settings)
    return run_job(job, crew, title="squaring", describe=lambda values: f"{values['square']}")


def results(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name.isdigit()}


@pytest.mark.parametrize("workers", [1, 2])
def test_every_chunk_is_computed_once_with_the_threads_asked_for(tmp_path, workers):
    assert run(Squares(tmp_path), workers) == 5
    assert results(tmp_path) == {str(i): f"{i * i} 1" for i in range(5)}
    assert len(list(tmp_path.glob("worker-*"))) <= workers
    assert run(Squares(tmp_path), workers) == 0


def test_finished_chunks_are_not_computed_again(tmp_path):
    (tmp_path / "1").write_text("kept")
    assert run(Squares(tmp_path)) == 4
    assert results(tmp_path)["1"] == "kept"


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("user", UserError, "^chunk 2 is not wanted$"),
        ("bug", WorkerError, r"(?s)Traceback.*in fail.*ZeroDivisionError: chunk 2"),
        ("death", WorkerLost, "died with exit code -9"),
    ],
)
def test_a_workers_fault_stops_the_run_and_finished_chunks_stay(tmp_path, fault, error, message):
    with pytest.raises(error, match=message):
        run(Squares(tmp_path, fault), workers=2)
    assert {"0", "1"} >= set(results(tmp_path)) - {"3", "4"}
    assert "2" not in results(tmp_path)
    run(Squares(tmp_path), workers=1)
    assert len(results(tmp_path)) == 5


@pytest.mark.parametrize(("fault", "error"), [("user", UserError), ("bug", ZeroDivisionError)])
def test_a_fault_in_this_process_is_passed_on_as_it_is(tmp_path, fault, error):
    with pytest.raises(error):
        run(Squares(tmp_path, fault))
    assert set(results(tmp_path)) == {"0", "1"}


@pytest.mark.parametrize(
    ("gpus", "devices"), [(0, ["cpu"] * 4), (1, ["cuda:0"] * 4), (3, ["cuda:0", "cuda:1", "cuda:2", "cuda:0"])]
)
def test_worker_number_w_gets_the_gpu_w_modulo_their_number(monkeypatch, gpus, devices):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert [device_of(worker) for worker in range(4)] == devices


def test_a_part_of_a_job_is_its_chunks_and_its_workers_count_on(tmp_path):
    job = Squares(tmp_path)
    assert run(job, share=Share(1, 3)) == 2
    assert set(results(tmp_path)) == {"1", "4"}
    assert job.worker == 1
    assert run(job, share=Share(1, 3)) == 0


@dataclass(frozen=True)
class Asked(Processes):
    """An engine that takes down the numbers of its workers."""

    numbers: ClassVar[list[int]] = []

    def run(self, job, chunks, workers, threads, progress):
        self.numbers[:] = workers


@pytest.mark.parametrize(("index", "count", "numbers"), [(0, 2, [0, 1]), (1, 2, [2, 3]), (2, 3, [6, 7, 8])])
def test_no_two_workers_of_an_array_have_one_number(tmp_path, index, count, numbers):
    crew = Workers(Asked(), share=Share(index, 4), count=count)
    run_job(Squares(tmp_path, num_chunks=12), crew, title="", describe=str)
    assert Asked.numbers == numbers


def test_an_interrupt_passes_through(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(Squares(tmp_path, "interrupt"))


def state_of_torch():
    import torch

    return torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


class Witness(Squares):
    """Notes what torch was told."""

    def setup(self, worker, device):
        super().setup(worker, device)
        self.seen = state_of_torch()


@pytest.mark.parametrize("asked", [(3, "highest", True), (1, "high", False), (2, "medium", True)])
def test_a_worker_computes_as_it_is_told_and_this_process_has_its_own_settings_back(tmp_path, asked):
    before, job = state_of_torch(), Witness(tmp_path)
    run(job, numerics=Numerics(*asked))
    assert job.seen == asked
    assert state_of_torch() == before


def test_progress_counts_earlier_runs_but_not_in_the_rate(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with (
        plain_messages(),
        Progress("making", lambda values: f"kept {values['kept']:g}", finished=50, total=100) as progress,
    ):
        clock[0] = 5.0
        progress.begin()
        clock[0] = 15.0
        progress.add(Advance(10, {"kept": 4}))
        progress.add(Advance(10, {"kept": 3}))
    assert progress.line() == "making: 70 of 100, 7,200/h, 15 s left, kept 7"
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "making: 60 of 100, 3,600/h, 40 s left, kept 4"
    assert captured.err == ""


def test_durations_are_read_by_people():
    assert [duration(s) for s in (0.4, 59, 65, 3600, 7500, 90000)] == [
        "0 s",
        "59 s",
        "1 min 5 s",
        "1 h",
        "2 h 5 min",
        "1 d 1 h",
    ]
