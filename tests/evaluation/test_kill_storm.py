"""An evaluation that is killed at any moments, any number of times, ends as an undisturbed one."""

import json
import multiprocessing
import os
import random
import time

import pytest
from omegaconf import OmegaConf

from npnet.report.command import evaluate
from tests.evaluation.extra_fakes import config
from tests.evaluation.test_command import cells, comparable

KILLS = 60
CHUNKS = {"chunk_size": 2, "batch_size": 1, "num_resamples": 50}


def live(folder, delay):
    os.environ["FAKE_DELAY_SECONDS"] = str(delay)
    value = config(output_dir=str(folder), **CHUNKS)
    evaluate(OmegaConf.create(value))


def born(folder, delay):
    """A run in a process of its own, forked: torch is there already, so that a life is work and no start."""
    process = multiprocessing.get_context("fork").Process(target=live, args=(folder, delay))
    process.start()
    return process


def what_lasts(folder):
    """What an evaluation leaves, without what no two runs share: the seconds, and digests of files that hold them."""
    pictures = {path.name: path.read_bytes() for path in sorted((folder / "images").rglob("*.webp"))}
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    for line in lines:
        line["cost"].pop("seconds")
    return comparable(folder), lines, pictures, {path.relative_to(folder) for path in cells(folder)}


def after_a_kill(folder, before):
    """The cells with their bytes and times; those of before are among them, untouched, and every one is whole."""
    there = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in cells(folder)}
    assert before.items() <= there.items()
    for _, text in there.values():
        json.loads(text)
    return there


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    live(folder, 0)  # in this process: what a run imports is there when the next ones are forked
    return what_lasts(folder)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_storm_of_kills_ends_as_an_undisturbed_run(tmp_path, undisturbed):
    draw, done, kills, moments = random.Random(0), {}, 0, set()
    folder = tmp_path / "0"
    while kills < KILLS or done:  # a run that came to its end before the storm was over is followed by another one
        process = born(folder, delay=0.02 if kills < KILLS else 0)
        more = len(done) + draw.choice([0, 0, 0, 1, 1])  # 0: while it starts, too, and reads what is there
        while process.is_alive() and (kills >= KILLS or len(cells(folder)) < more):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.2))
        if process.is_alive():
            process.kill()
            process.join()
            done, kills = after_a_kill(folder, done), kills + 1
            moments.add(len(done))
            continue
        assert process.exitcode == 0 and after_a_kill(folder, done)
        assert what_lasts(folder) == undisturbed
        assert not list(folder.rglob("*.partial"))
        folder, done = tmp_path / str(kills), {}
    assert len(moments) >= 10
