"""The networks that ship with the model: what ``make demo`` does, on the freshly packed pipeline.

The project's own commands run as processes of their own, so that nothing here imports what is built on top of it.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["NETWORKS", "train_networks"]

NETWORKS: dict[str, dict[str, tuple[str, ...]]] = {
    "network": {"collect": (), "train": ()},
    "network_paper": {"collect": ("noise.inversion.cycles=1",), "train": ("network=shapes",)},
}
"""Folder -> what the demo's collection and training are told besides: the recommended network, and the paper's."""
REWARD = "network_reward"
"""Folder of the recommended network after further training on the scorer, without pairs."""


def train_networks(output: Path, work: Path, overrides: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Collect pairs on training prompts with ``output/pipeline``; train the networks of ``NETWORKS``, then ``REWARD``.

    Args:
        output: where ``pipeline`` and ``scorer`` are, and the networks will be; float16 weights.
        work: where the pairs and the training runs are kept.
        overrides: further keys for ``collect``, ``train`` and ``reward``.

    Returns:
        For each network the pairs tried and kept, and the metrics of the last epoch.
    """
    where = [f"backbone.path={output / 'pipeline'}", f"metric.shapes_scorer.path={output / 'scorer'}"]
    figures = {}
    for name, own in NETWORKS.items():
        pairs, run, folder = work / f"{name}-pairs", work / f"{name}-run", output / name
        collect, train = ([*where, *own[command], *overrides[command]] for command in ("collect", "train"))
        _run("collect", "experiment=demo_collect", f"output_dir={pairs}", *collect)
        _run(
            "npnet",
            "train",
            "experiment=demo_train",
            f"data.shards={pairs}",
            f"output_dir={run}",
            "export_dtype=float16",
            *train,
        )
        training = _ship(run, folder)
        sidecars = [json.loads(path.read_text()) for path in sorted(pairs.glob("shard-*.json"))]
        figures[name] = {
            "pairs_tried": sum(sidecar["num_tried"] for sidecar in sidecars),
            "pairs_kept": sum(sidecar["num_kept"] for sidecar in sidecars),
            "last_epoch_metrics": training["last_epoch_metrics"],
        }
    run = work / f"{REWARD}-run"
    start = [f"init_from={output / 'network'}", f"output_dir={run}", "export_dtype=float16"]
    _run("npnet", "train", "experiment=reward_shapes_train", *start, *where, *overrides["reward"])
    figures[REWARD] = {"last_epoch_metrics": _ship(run, output / REWARD)["last_epoch_metrics"]}
    return figures


def _ship(run: Path, folder: Path) -> dict[str, Any]:
    """Put the network of a training where it ships, and return what the training says of it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run / "network", folder)
    told: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return told


def _run(module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=sys.stderr, check=False)
    if done.returncode:
        raise RuntimeError(f"python -m {module} {' '.join(arguments)} ended with exit code {done.returncode}")
