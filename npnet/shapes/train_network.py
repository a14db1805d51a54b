"""The network that ships with the model: what ``make demo`` does, on the freshly packed pipeline.

The project's own commands run as processes of their own, so that nothing here imports what is built on top of it.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["train_network"]


def train_network(output: Path, work: Path, overrides: dict[str, Sequence[str]]) -> dict[str, Any]:
    """Collect pairs on training prompts with ``output/pipeline``, and trains ``output/network`` on them.

    Args:
        output: where ``pipeline`` and ``scorer`` are, and ``network`` will be; float16 weights.
        work: where the pairs and the training run are kept.
        overrides: further keys for ``collect`` and ``train``.

    Returns:
        The pairs tried and kept, and the metrics of the last epoch.
    """
    pairs, run = work / "pairs", work / "network-run"
    where = [f"backbone.path={output / 'pipeline'}", f"metric.shapes_scorer.path={output / 'scorer'}"]
    _run("collect", "experiment=demo_collect", f"output_dir={pairs}", *where, *overrides["collect"])
    _run(
        "npnet",
        "train",
        "experiment=demo_train",
        f"data.shards={pairs}",
        f"output_dir={run}",
        "export_dtype=float16",
        *where,
        *overrides["train"],
    )
    shutil.rmtree(output / "network", ignore_errors=True)
    shutil.copytree(run / "network", output / "network")
    sidecars = [json.loads(path.read_text()) for path in sorted(pairs.glob("shard-*.json"))]
    training = json.loads((output / "network" / "training.json").read_text())
    return {
        "pairs_tried": sum(sidecar["num_tried"] for sidecar in sidecars),
        "pairs_kept": sum(sidecar["num_kept"] for sidecar in sidecars),
        "last_epoch_metrics": training["last_epoch_metrics"],
    }


def _run(module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], stdout=sys.stderr, check=False)
    if done.returncode:
        raise RuntimeError(f"python -m {module} {' '.join(arguments)} ended with exit code {done.returncode}")
