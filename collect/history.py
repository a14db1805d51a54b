"""``metrics.csv`` over several runs: Lightning's logger starts a new file, but a resumed run must not lose rows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

PREVIOUS = ".metrics.previous.csv"


def set_aside(output_dir: Path) -> None:
    """Put the rows of an interrupted run where the logger does not delete them."""
    current, previous = output_dir / "metrics.csv", output_dir / PREVIOUS
    if current.is_file() and not previous.is_file():
        current.replace(previous)


def bring_back(output_dir: Path, logger: Any, steps_done: int) -> None:
    """Write the rows set aside into the new file, those of steps that will be taken again left out."""
    previous = output_dir / PREVIOUS
    if not previous.is_file():
        return
    with previous.open(newline="") as file:
        rows = [{name: value for name, value in row.items() if value != ""} for row in csv.DictReader(file)]
    writer = logger.experiment
    writer.metrics = [row for row in rows if int(row["step"]) < steps_done]
    writer.save()
    previous.unlink()
