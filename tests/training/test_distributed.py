"""Two processes on CPUs (gloo), started as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from npnet.networks import NPNet
from tests.pairs import write_folder
from tests.training.runs import LIGHT

ROOT = Path(__file__).parent.parent.parent
TWO = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]


def started(pairs, folder, *overrides, typed=("-m", "npnet", "train")):
    witness = ["+callbacks.witness._target_=tests.training.witness.Witness", f"+callbacks.witness.folder={folder}.seen"]
    command = [f"data.shards={pairs}", f"output_dir={folder}", "trainer.max_epochs=2", *LIGHT, *witness, *overrides]
    return subprocess.run(
        [sys.executable, *typed, *command],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        timeout=500,
    )


@pytest.mark.parametrize("sizes", [[30, 7, 12, 25, 3], pytest.param([40], marks=pytest.mark.slow)])
def test_two_processes_share_shards_of_any_number_and_size_and_end_with_one_network(sizes, tmp_path):
    pairs = write_folder(tmp_path / "pairs", sizes)
    done = started(pairs, tmp_path / "run", *TWO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("to train on") == 1  # one of them speaks
    ranks = [json.loads((tmp_path / f"run.seen/rank-{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    for name in ("mse", "relative_mse", "direction_share"):  # each validates on everything
        assert ranks[0]["metrics"][f"val/{name}"] == pytest.approx(ranks[1]["metrics"][f"val/{name}"], rel=1e-12)
    training = json.loads((tmp_path / "run" / "network" / "training.json").read_text())
    for epoch in range(2):
        batches = [rank["epochs"][epoch] for rank in ranks]
        assert len(batches[0]) == len(batches[1])
        seen = [prompt for rank in batches for batch in rank for prompt in batch]
        assert len(seen) == len(set(seen))
        left_out = training["pairs"] - len(seen)
        assert 0 <= left_out <= 8  # one batch at the most, with shards dealt evenly
    NPNet.from_pretrained(tmp_path / "run" / "network")


@pytest.mark.slow
def test_a_script_and_a_console_script_start_the_other_process_too(tmp_path):
    pairs = write_folder(tmp_path / "pairs", [20, 20])
    for name in ("train.py", "npnet-train"):
        place = ROOT / name if name.endswith(".py") else Path(sys.executable).with_name(name)
        done = started(pairs, tmp_path / name, *TWO, typed=(str(place),))
        assert done.returncode == 0, done.stderr


def test_jobs_of_a_multirun_train_in_one_process(tmp_path):
    pairs = write_folder(tmp_path / "pairs", [20])
    done = started(pairs, tmp_path / "run", *TWO, "--multirun", "seed=0,1")
    line = "error: trainer.devices=2: --multirun trains in one process; start a command for each job\n"
    assert (done.returncode, done.stderr) == (2, line)


@pytest.mark.slow
def test_a_mistake_in_one_process_ends_both(tmp_path):
    pairs = write_folder(tmp_path / "pairs", [20, 20])
    tar = pairs / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 512] = bytes(512)  # of the same size, so only reading it tells
    tar.write_bytes(data)
    done = started(pairs, tmp_path / "run", *TWO)
    assert done.returncode != 0
    assert "shard-000001.tar: was changed" in done.stderr + done.stdout
