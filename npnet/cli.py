"""The console scripts ``npnet``, ``npnet-train`` and ``npnet-evaluate``; no logic."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

USAGE = """npnet collect|train|evaluate [KEY=VALUE ...]

  collect    noise pairs into shards           (npnet-collect)
  train      a network on collected pairs      (npnet-train)
  evaluate   noise methods against metrics     (npnet-evaluate)

Every command lists its keys with --help, and shows its configuration with --cfg job."""


def train() -> None:
    """Run ``train.py``."""
    from npnet.command import run_command
    from npnet.training.command import train as function

    run_command("train", function)


def evaluate() -> None:
    """Run ``evaluate.py``."""
    from npnet.command import run_command
    from npnet.evaluation.command import evaluate as function

    run_command("evaluate", function)


def main() -> None:
    """Run ``npnet COMMAND ...``."""
    scripts = {script.name: script for script in entry_points(group="console_scripts")}
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command not in ("collect", "train", "evaluate"):
        wanted_help = command in ("", "-h", "--help")
        print(
            USAGE if wanted_help else f"error: unknown command {command!r}; allowed: collect, train, evaluate",
            file=sys.stdout if wanted_help else sys.stderr,
        )
        sys.exit(0 if wanted_help else 2)
    # by name, so that nothing in npnet imports the collector
    sys.argv = [f"npnet-{command}", *sys.argv[2:]]
    scripts[f"npnet-{command}"].load()()
