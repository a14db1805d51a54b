"""Small collections on the fakes, in this process."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir

from collect.cli import collect
from collect.filter import filter_pairs
from npnet.paths import config_dir
from tests.fakes import FAKE_OVERRIDES

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
