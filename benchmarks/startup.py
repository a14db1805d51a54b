"""How long the commands take before they work, as ratios to ``python -c "import torch"``, measured by turns.

    python benchmarks/startup.py [ROUNDS]

Prints the median ratio of each command over the rounds (default 5), with the lowest and the highest. The aim for a
dry run is at most 1.5.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AIM = 1.5
BASE = ["-c", "import torch"]


def seconds(arguments: list[str]) -> float:
    """Run Python once and return the wall time."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False, capture_output=True)
    return time.perf_counter() - started


def main(rounds: int) -> None:
    """Measure and print."""
    sys.path.insert(0, str(ROOT))
    from tests.collected import collect_small  # a folder of pairs for train.py

    with tempfile.TemporaryDirectory() as folder:
        pairs = collect_small(Path(folder) / "pairs")
        commands = {
            "collect.py dry_run": ["collect.py", "dry_run=true", f"output_dir={folder}/c"],
            "train.py dry_run": ["train.py", "dry_run=true", f"data.shards={pairs}", f"output_dir={folder}/t"],
            "evaluate.py dry_run": ["evaluate.py", "dry_run=true", f"output_dir={folder}/e"],
            "evaluate.py --help": ["evaluate.py", "--help"],
            "evaluate.py batch_size=0": ["evaluate.py", "batch_size=0", f"output_dir={folder}/e"],
        }
        ratios: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            base = seconds(BASE)
            for name, arguments in commands.items():
                ratios[name].append(seconds(arguments) / base)
    for name, found in ratios.items():
        mark = "" if "dry_run" not in name or statistics.median(found) <= AIM else f"  above the aim of {AIM}"
        print(f"{name:<26}{statistics.median(found):5.2f}x [{min(found):.2f}, {max(found):.2f}]{mark}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
