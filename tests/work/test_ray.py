"""Ray on one machine. The tests are skipped where the extra [ray] is not installed."""

import importlib.util
import os
import re
import signal
import time
from dataclasses import dataclass

import pytest

from npnet.errors import UserError
from npnet.messages import plain_messages
from npnet.settings import read
from npnet.work.job import Advance, WorkerError, WorkSettings
from npnet.work.progress import Progress
from npnet.work.ray_actors import RayActors
from npnet.work.share import WHOLE
from tests.collected import contents, start, wait_until
from tests.work.test_job import Squares, results

with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra [ray]")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = {"engine": {"_target_": "npnet.work.ray_actors.RayActors"}, "workers": 2, "threads_per_worker": 1}
    with pytest.raises(UserError, match=r"^engine=ray: Ray is not installed.*pip install 'npnet-lightning\[ray\]'$"):
        read(WorkSettings, config).crew()


@dataclass
class Mortal(Squares):
    """Chunk 2 reports, and its worker is killed ``deaths`` times."""

    deaths: int = 1

    def run(self, chunk, report):
        died = len(list(self.folder.glob("died-*")))
        if chunk == 2 and died < self.deaths:
            report(Advance(2, {"square": 8}))
            time.sleep(3)  # so that the driver hears of it
            (self.folder / f"died-{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().run(chunk, report)


def compute(job, retries=3):
    with plain_messages(), Progress("squaring", lambda values: "", finished=0, total=15) as progress:
        RayActors(retries=retries).run(job, WHOLE.chunks(5), [0, 1], 1, progress)
    return progress


@with_ray
@pytest.mark.slow
def test_a_lost_actor_is_replaced_its_chunk_redone_and_its_reports_taken_back(tmp_path, capsys):
    progress = compute(Mortal(tmp_path, deaths=2))
    assert results(tmp_path) == {str(i): f"{i * i} 1" for i in range(5)}
    assert (progress.done, progress.values["square"]) == (15, 3 * sum(i * i for i in range(5)))
    assert capsys.readouterr().out.count("was lost with chunk 2; another worker takes over") == 2


@with_ray
@pytest.mark.slow
def test_a_chunk_that_kills_its_workers_ends_the_run_and_finished_chunks_stay(tmp_path):
    with pytest.raises(WorkerError, match=r"lost with chunk 2 more than engine.retries=1 times"):
        compute(Mortal(tmp_path, deaths=9), retries=1)
    assert set(results(tmp_path)) >= {"0", "1"} and "2" not in results(tmp_path)


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("user", UserError, "^chunk 2 is not wanted$"),
        ("bug", WorkerError, r"(?s)Traceback.*ZeroDivisionError: chunk 2"),
    ],
)
def test_an_actors_fault_ends_the_run_as_a_process_would(tmp_path, fault, error, message):
    with pytest.raises(error, match=message):
        compute(Squares(tmp_path, fault))
    assert "2" not in results(tmp_path)


@with_ray
@pytest.mark.slow
def test_a_collection_whose_actor_is_killed_in_mid_chunk_ends_with_the_bytes_of_one_worker(undisturbed, tmp_path):
    process = start(tmp_path, "engine=ray", "workers=2", delay=0.5)
    wait_until(lambda: any(tmp_path.glob(".shard-*.partial")), 300)
    temporary = next(tmp_path.glob(".shard-*.partial")).name
    os.kill(int(re.search(r"-(\d+)\.partial$", temporary)[1]), signal.SIGKILL)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "was lost with chunk" in out
    assert contents(tmp_path) == contents(undisturbed)
    assert not list(tmp_path.glob(".*.partial"))


@with_ray
@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(tmp_path):
    process = start(tmp_path, "engine=ray", "engine.address=127.0.0.1:1")
    _, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith("error: engine.address=127.0.0.1:1: ") and err.count("\n") == 1
