"""The picture on a table's page: scores along a sweep, or the drawing of a toy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from npnet.papers.jobs import Job
from npnet.papers.table import Table
from npnet.report.sweep import plot, read_runs
from npnet.work import atomic

NAME = "figure.png"
"""Beside the page."""
TOY = "toy.png"


def is_drawn(table: Table, jobs: Sequence[Job]) -> bool:
    """Return whether a table has a picture: a toy's, or of one key that is swept on one set of prompts."""
    evaluated = [job for job in jobs if job.command == "evaluate" and job.is_there]
    if table.shows == "toy":
        return any(job.is_done for job in jobs)
    keys = {key for job in evaluated for key in job.place} - {"prompts"}
    sets = {job.place["prompts"] for job in evaluated}
    return table.shows == "evaluations" and "case" not in keys and len(keys) == len(sets) == 1 and len(evaluated) > 1


def draw(table: Table, jobs: Sequence[Job], path: Path) -> None:
    """Write the picture of a table that has one.

    Raises:
        UserError: results that are there cannot be read, or the file cannot be written.
    """
    done = [job.output_dir for job in jobs if job.is_there and job.command in ("evaluate", "toy")]
    if table.shows == "toy":
        atomic.write_bytes(path, (done[0] / TOY).read_bytes())
    else:
        plot(read_runs(done), path)
