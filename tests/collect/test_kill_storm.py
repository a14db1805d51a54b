"""Fifty kills at random moments, and the same bytes at the end."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.collected import alive, children, collect_small, contents, start, wait_until

KILLS = 50
CHUNKS = 120
SMALL_CHUNKS = [f"prompts.list=[{','.join(f'storm {i}' for i in range(2 * CHUNKS))}]", "chunk_size=2", "batch_size=1"]


def at_work(folder, num_done):
    return any(folder.glob(".shard-*.partial")) and len(list(folder.glob("shard-*.json"))) >= num_done


def is_worker(pid):
    with suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()  # not multiprocessing's own helper
    return False


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_storm_of_kills_ends_with_the_bytes_of_an_undisturbed_run_of_one_worker(tmp_path):
    undisturbed, folder = contents(collect_small(tmp_path / "undisturbed", *SMALL_CHUNKS)), tmp_path / "storm"
    draw, written = random.Random(0), {}
    for kill in range(KILLS):
        process = start(folder, *SMALL_CHUNKS, "workers=2", delay=0.05)
        if draw.random() < 0.1:
            time.sleep(draw.uniform(0, 5))  # while it starts
        else:
            more = len(written) + draw.randint(0, 1)
            wait_until(lambda: process.poll() is not None or at_work(folder, more), 600)  # noqa: B023
            time.sleep(draw.uniform(0, 1))
        assert process.poll() is None, "the storm was over too early"
        workers = [pid for pid in children(process) if is_worker(pid)]
        # the command, or now and then one of its workers, which ends the command too
        victim = int(draw.choice([process.pid, process.pid, process.pid, *workers]))
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        process.communicate()
        wait_until(lambda: not any(alive(pid) for pid in workers), 600)  # noqa: B023
        for path in folder.glob("shard-*"):
            assert path.read_bytes() == undisturbed[path.name], kill
        # what was done stays untouched
        times = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.json")}
        assert times.items() >= written.items()
        written = times
        print(f"kill {kill + 1}: {len(written)} of {CHUNKS} shards", flush=True)
    assert written, "the storm never let anything pass"
    process = start(folder, *SMALL_CHUNKS, "workers=2")
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert contents(folder) == undisturbed
    assert [path.name for path in folder.glob(".*")] == [".lock"]
