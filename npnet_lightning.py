"""The console scripts. They stand beside the package ``npnet``, so they run where another project's is in its place."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec

DISTRIBUTION = "npnet-lightning"


def main() -> None:
    """Run ``npnet``."""
    start("npnet.cli", "main")


def collect() -> None:
    """Run ``npnet-collect``."""
    start("collect.cli", "main")


def train() -> None:
    """Run ``npnet-train``."""
    start("npnet.cli", "train")


def evaluate() -> None:
    """Run ``npnet-evaluate``."""
    start("npnet.cli", "evaluate")


def start(module: str, name: str) -> None:
    """Call a function of this project, or leave with one line where another project's ``npnet`` is imported instead."""
    try:
        found = getattr(importlib.import_module("npnet"), "DISTRIBUTION", None)
    except Exception:  # the other package may fail in any way
        found = None
    if found != DISTRIBUTION:
        spec = find_spec("npnet")
        place = spec.origin if spec is not None else "nowhere"
        print(
            f"error: the package npnet that Python finds ({place}) is not that of {DISTRIBUTION}: "
            f"pip uninstall npnet, then reinstall {DISTRIBUTION}",
            file=sys.stderr,
        )
        sys.exit(2)
    getattr(importlib.import_module(module), name)()
