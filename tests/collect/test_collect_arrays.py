"""Several commands and one folder: the workers of a job array, and what keeps them apart."""

import json
import subprocess
import sys

import pytest

from npnet.errors import UserError
from npnet.work import lock
from npnet.work.share import WHOLE, Share
from tests.collected import SMALL, collect_small, contents, start, wait_until


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_workers_of_an_array_write_what_one_run_writes(undisturbed, tmp_path, capsys, order):
    for index in order:
        collect_small(tmp_path, f"worker.index={index}", "worker.count=2")
    said = capsys.readouterr().out
    assert f"worker {order[0]} of 2: done; {[2, 1][order[0]]} of 3 shards are there" in said
    assert "pairs tried" in said  # the last one tells of the whole
    assert contents(tmp_path) == contents(undisturbed)
    assert not list(tmp_path.glob(".run*"))


def test_a_worker_with_nothing_left_and_a_worker_without_a_chunk_do_nothing(undisturbed, tmp_path, capsys):
    collect_small(tmp_path, "worker.index=7", "worker.count=9")
    assert "worker 7 of 9: done; 0 of 3 shards are there" in capsys.readouterr().out
    collect_small(tmp_path, "worker.index=0", "worker.count=2")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    collect_small(tmp_path, "worker.index=0", "worker.count=2")
    collect_small(tmp_path, "worker.index=7", "worker.count=9")
    assert "worker 7 of 9: " in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != ".lock"} == {
        path: time for path, time in before.items() if path.name != ".lock"
    }
    collect_small(tmp_path)  # without the keys: whatever an array left is finished
    assert contents(tmp_path) == contents(undisturbed)


def test_the_array_is_no_part_of_the_request(tmp_path):
    collect_small(tmp_path, "worker.index=1", "worker.count=2", "workers=1", "engine=processes")
    assert not {"worker", "workers", "engine"} & json.loads((tmp_path / "request.json").read_text()).keys()


@pytest.mark.parametrize(
    ("there", "overrides", "message"),
    [
        (WHOLE, [], "another run is working in this folder"),
        (Share(0, 2), [], "worker.count=2 is at work"),
        (Share(0, 2), ["worker.index=0", "worker.count=2"], "worker.index=0: this worker of 2 is already at work"),
        (Share(0, 2), ["worker.index=0", "worker.count=3"], "worker.count=3 would divide the work differently"),
    ],
)
def test_two_commands_that_would_do_the_same_work_are_refused(tmp_path, there, overrides, message):
    with lock.hold(tmp_path, share=there), pytest.raises(UserError) as caught:
        collect_small(tmp_path, *overrides)
    assert message in str(caught.value)
    assert not contents(tmp_path)


def test_a_worker_of_another_configuration_is_refused_though_no_shard_is_there_yet(tmp_path):
    collect_small(tmp_path, "worker.index=2", "worker.count=9")
    with lock.hold(tmp_path, share=Share(0, 2)), pytest.raises(UserError, match=r"another configuration: margin"):
        collect_small(tmp_path, "margin=1", "worker.index=1", "worker.count=2")


@pytest.mark.slow
def test_an_array_at_work_at_once_with_a_killed_and_restarted_worker_ends_with_the_same_bytes(undisturbed, tmp_path):
    workers = [start(tmp_path, f"worker.index={i}", "worker.count=3", delay=0.2) for i in range(3)]
    wait_until(lambda: any(tmp_path.glob(".shard-000001.tar.*.partial")))
    workers[1].kill()
    workers[1].communicate()
    done = [subprocess.Popen.communicate(worker) for worker in (workers[0], workers[2])]
    assert [workers[0].returncode, workers[2].returncode] == [0, 0], done
    assert not (tmp_path / "shard-000001.json").exists()
    last = start(tmp_path, "worker.index=1", "worker.count=3")
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert "pairs tried" in out
    assert contents(tmp_path) == contents(undisturbed)
    assert [path.name for path in tmp_path.glob(".*")] == [".lock"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["worker.index=0"], "worker.count=null: is needed too"),
        (["worker.index=3", "worker.count=3"], "worker.index=3: with worker.count=3, allowed: 0 to 2"),
        (["worker.index=0", "worker.count=2", "logger=[csv]"], "logger=[csv]: the workers of a job array"),
        (["engine=rai"], "engine"),
        (["engine.address=auto"], "engine.address"),
        (["engine=ray", "engine.retries=-1"], "retries=-1: a whole number of at least 0 is needed"),
        (["engine=ray", "engine.address=3"], "address=3"),
    ],
)
def test_a_wrong_worker_or_engine_is_one_line_and_writes_nothing(overrides, message, tmp_path, monkeypatch, capsys):
    from collect.cli import main

    monkeypatch.setattr(sys, "argv", ["collect.py", *SMALL, f"output_dir={tmp_path / 'out'}", *overrides])
    with pytest.raises(SystemExit) as stop:
        main()
    err = capsys.readouterr().err
    assert (stop.value.code, err.count("\n")) == (2, 1), err
    assert err.startswith("error: ") and message in err
    assert not (tmp_path / "out").exists()
