"""A user's mistakes: exit code 2, one line, soon, and nothing written."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from npnet.drawing import terminal

ROOT = Path(__file__).parent.parent

MISTAKES = [
    ("train.py", [], "data.shards=DIR is needed"),
    ("train.py", ["data.shards=5"], "got 5"),
    ("evaluate.py", ["images=5"], "images=5: a text that is not empty is needed"),
    ("evaluate.py", ["network_path=5"], "network_path=5"),
    ("evaluate.py", ["prompts=file", "prompts.path=5"], "prompts.path=5: a path"),
    ("train.py", ["data.shards=nowhere"], "data.shards=nowhere: no such folder"),
    ("train.py", ["network=npnt"], "npnt"),
    ("train.py", ["data.shards=.", "data.batchsize=3"], "data.batchsize"),
    ("train.py", ["data.shards=.", "trainer.max_epochs=0"], "trainer.max_epochs=0"),
    ("evaluate.py", ["prompts=file", "prompts.path=nowhere.txt"], "prompts.path=nowhere.txt: no such file"),
    ("evaluate.py", ["noise=[standart]"], "standart"),
    ("evaluate.py", ["sampler=dimm"], "dimm"),
    ("evaluate.py", ["network_path=./nowhere"], "network_path=./nowhere: no such file or folder"),
    ("evaluate.py", ["backbone.height=31"], "backbone.height=31"),
    ("evaluate.py", ["backbone.path=./nowhere"], "nowhere: no diffusers pipeline there"),
    ("evaluate.py", ["num_inference_steps=1001"], "error: num_inference_steps=1001: allowed: 1 to 1000"),
    ("evaluate.py", ["sampler=lcm", "num_inference_steps=60"], "num_inference_steps=60: sampler=lcm takes 1 to 50"),
    ("collect.py", ["noise.inversion.num_inference_steps=1001"], "noise.inversion.num_inference_steps=1001: allowed"),
    ("evaluate.py", ["batch_size=0"], "batch_size=0"),
    ("evaluate.py", ["experiment=no_such"], "no_such"),
    ("evaluate.py", ["backbone=sdxl", "backbone.device=cpu"], "float16 needs a GPU"),
    ("evaluate.py", ["--multirun", "seed=0,1", "workers=0"], "workers=0"),
]


@pytest.mark.parametrize(("script", "arguments", "message"), MISTAKES, ids=lambda value: str(value))
def test_a_mistake_is_one_line_soon_and_leaves_nothing(script, arguments, message, tmp_path):
    started = time.monotonic()
    target = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments, f"output_dir={target}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    seconds = time.monotonic() - started
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert not target.exists()
    assert seconds < 30  # 10 on a quiet machine


@pytest.mark.parametrize("arguments", [["collect.py", "--cfg", "job"], ["-m", "npnet"]], ids=["collect", "npnet"])
def test_a_reader_that_leaves_is_no_error(arguments):
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.wait(timeout=60), process.stderr.read()) == (141, "")


def test_a_table_leaves_to_the_command_what_a_reader_that_has_gone_means():
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(BrokenPipeError), os.fdopen(write, "w") as file:
        terminal.console(file).print("a table")
