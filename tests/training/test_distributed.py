"""Two processes on CPUs (gloo), started as a user starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only

from npnet.errors import UserError
from npnet.networks import NPNet
from tests.pairs import write_folder
from tests.training.runs import LIGHT, run, same, weights

ROOT = Path(__file__).parent.parent.parent
TWO = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]


def command(pairs, folder, *overrides, typed=("-m", "npnet", "train")):
    keys = [f"data.shards={pairs}", f"output_dir={folder}", "trainer.max_epochs=2", *LIGHT, *overrides]
    return [sys.executable, *typed, *keys]


def environment(**further):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **further}


def started(pairs, folder, *overrides, **options):
    witness = ["+callbacks.witness._target_=tests.training.witness.Witness", f"+callbacks.witness.folder={folder}.seen"]
    return subprocess.run(
        command(pairs, folder, *witness, *overrides, **options),
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env=environment(),
        timeout=500,
    )


def variables_of_slurm(node, task, nodes, tasks):
    """What srun sets for one process."""
    counts = {"NTASKS": nodes * tasks, "NTASKS_PER_NODE": tasks, "NNODES": nodes}
    here = {"PROCID": node * tasks + task, "LOCALID": task, "NODEID": node}
    own = {"JOB_ID": 10_000 + os.getpid(), "NODELIST": "127.0.0.1", "JOB_NAME": "train"}
    return {f"SLURM_{name}": str(value) for name, value in {**counts, **here, **own}.items()}


def submitted(pairs, folder, nodes, tasks, *overrides):
    """Start the processes of a job as srun does, all of them on this machine."""
    keys = [f"trainer.num_nodes={nodes}", f"trainer.devices={tasks}", *TWO[1:], *overrides]
    return [
        subprocess.Popen(
            command(pairs, folder, *keys),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(**variables_of_slurm(node, task, nodes, tasks)),
        )
        for node in range(nodes)
        for task in range(tasks)
    ]


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
def test_what_srun_starts_ends_with_one_network_on_one_node_and_on_two_and_resumes_after_a_kill(tmp_path):
    pairs = write_folder(tmp_path / "pairs", [30, 7, 12])
    latest = "callbacks.latest.every_n_train_steps=2"
    killed = submitted(pairs, tmp_path / "killed", 2, 1, latest, "trainer.max_epochs=4")
    for line in killed[0].stdout:
        if line.startswith("epoch 1/"):
            break
    for process in killed:
        process.kill()
        process.wait()
    for name, nodes, tasks in (("node", 1, 2), ("nodes", 2, 1), ("killed", 2, 1)):
        processes = submitted(pairs, tmp_path / name, nodes, tasks, latest, "trainer.max_epochs=4")
        said = [process.communicate(timeout=500)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0], said
        assert "network:" in said[0]
        assert not said[1]  # one of them speaks
        assert ("Resuming" in said[0]) == (name == "killed")
    node, nodes, resumed = (weights(tmp_path / name) for name in ("node", "nodes", "killed"))
    assert same(nodes, resumed)
    for name, tensor in node.items():
        torch.testing.assert_close(nodes[name], tensor)


@pytest.mark.parametrize("strategy", ["ddp", "auto"])
def test_another_number_of_processes_than_srun_starts_is_a_line(strategy, tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # Lightning keeps the rank for this process, beyond this test
    for name, value in variables_of_slurm(0, 1, 1, 2).items():
        monkeypatch.setenv(name, value)
    pairs = write_folder(tmp_path / "pairs", [20])
    with pytest.raises(UserError, match=r"^trainer: .*devices=1.*--ntasks-per-node=2"):
        run(pairs, tmp_path / "run", f"trainer.strategy={strategy}", "trainer.accelerator=cpu")


@pytest.mark.slow
def test_a_script_and_a_console_script_start_the_other_process_too(tmp_path):
    pairs = write_folder(tmp_path / "pairs", [20, 20])
    for name in ("train.py", "npnet-train"):
        place = ROOT / name if name.endswith(".py") else Path(sys.executable).with_name(name)
        done = started(pairs, tmp_path / name, *TWO, typed=(str(place),))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "1, with one GPU, if there is one; a step takes 8 pairs"),
        (["trainer.accelerator=cpu"], "1, on the CPU; a step takes 8 pairs"),
        (["trainer.devices=auto"], "one for each GPU that a machine has (trainer.devices=auto); a step takes 8 pairs"),
        (["trainer.devices=2", "trainer.num_nodes=2"], "4, with one GPU each; a step takes 8 pairs in each, 32 in all"),
        (["trainer.devices='1,3'"], "2, with one GPU each; a step takes 8 pairs in each, 16 in all"),
        ([*TWO, "trainer.accumulate_grad_batches=3"], "2, on CPUs; a step takes 24 pairs in each, 48 in all"),
    ],
)
def test_a_dry_run_says_how_many_processes_train_and_what_a_step_takes_over_all_of_them(
    overrides, said, tmp_path, capsys
):
    run(write_folder(tmp_path / "pairs", [20]), tmp_path / "run", "dry_run=true", *overrides)
    assert f"processes          {said}" in capsys.readouterr().out


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
