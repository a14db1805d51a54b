"""Small collections on the fakes, in this process or as a command of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hydra import compose, initialize_config_dir

from collect.cli import collect
from collect.filter import filter_pairs
from npnet.paths import config_dir
from tests.fakes import FAKE_OVERRIDES

ROOT = Path(__file__).parent.parent
PROMPTS = [f"prompt number {i}" for i in range(10)]
SMALL = [
    *FAKE_OVERRIDES,
    f"prompts.list=[{','.join(PROMPTS)}]",
    "chunk_size=4",
    "batch_size=2",
    "num_inference_steps=3",
    "card=false",
]
TWO_METRICS = ["+metric.bright._target_=tests.fakes.Brightness"]


def composed(primary: str, *overrides: str):
    """Return a command's configuration."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose(primary, [*overrides])


def collect_small(folder: Path, *overrides: str) -> Path:
    """Collect ten pairs in three chunks into ``folder``."""
    collect(composed("collect", *SMALL, f"output_dir={folder}", *overrides))
    return folder


def filter_small(source: Path, folder: Path, *overrides: str) -> Path:
    """Make a new selection of ``source`` in ``folder``."""
    filter_pairs(composed("filter", f"shards={source}", f"output_dir={folder}", *overrides))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, the hidden ones left out."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def start(folder, *overrides, delay=0):
    command = [sys.executable, "collect.py", *SMALL, f"output_dir={folder}", *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"FAKE_DELAY_SECONDS": str(delay)}

    def hear_interrupts():
        # a shell starts its background jobs deaf to SIGINT, and children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, preexec_fn=hear_interrupts, **pipes
    )


def children(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
