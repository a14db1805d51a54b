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
    from npnet.report.command import evaluate as function

    run_command("evaluate", function)


def collect() -> None:
    """Run ``collect.py``, found by its name: nothing in npnet imports the collector."""
    scripts = {script.name: script for script in entry_points(group="console_scripts")}
    scripts["npnet-collect"].load()()


def main() -> None:
    """Run ``npnet COMMAND ...``."""
    commands = {"collect": collect, "train": train, "evaluate": evaluate}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help"):
        print(USAGE)
    elif name not in commands:
        print(f"error: unknown command {name!r}; allowed: {', '.join(commands)}", file=sys.stderr)
        sys.exit(2)
    else:
        sys.argv = [f"npnet-{name}", *sys.argv[2:]]
        commands[name]()
