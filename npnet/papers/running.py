"""Saying what a plan's jobs are, running the missing ones, and writing pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from npnet.description import imported
from npnet.errors import UserError
from npnet.papers.costs import cost
from npnet.papers.jobs import Job
from npnet.text import count
from npnet.work import atomic


def described(jobs: Sequence[Job]) -> str:
    """Return a line for each job: whether it is done, what it is, and what it costs.

    Raises:
        UserError: a key or value that its command does not take.
    """
    lines, total = [], 0
    for job in jobs:
        price = cost(job)
        total += 0 if job.is_done else price.forwards or 0
        words = [count(price.pairs, "pair")] if price.pairs else []
        if job.command in ("collect", "evaluate", "generate"):
            words += ["forwards depend on the data" if price.forwards is None else f"{price.forwards:,} forwards"]
        words += [f"{price.optimisation_steps:,} steps"] if price.optimisation_steps else []
        state = "there  " if job.is_done else "missing"
        lines += [f"{state} {job.command:<8} {job.output_dir}  {', '.join(words)}", f"        {job}"]
        lines += [f"        {job.missing}"] if job.missing else []
    missing = sum(not job.is_done for job in jobs)
    return "\n".join([*lines, f"{count(missing, 'command')} of {len(jobs)} to run, {total:,} forwards that are known"])


def run_missing(jobs: Sequence[Job]) -> None:
    """Run the jobs that are not done, in their order.

    Raises:
        UserError: a job lacks an input, or a command fails; then the same call resumes.
    """
    if lacking := next((job.missing for job in jobs if job.missing and not job.is_done), None):
        raise UserError(lacking)
    for job in jobs:
        if not job.is_done:
            _run(job)


def _run(job: Job) -> None:
    print(f"\n{job}", flush=True)
    if job.command == "toy":
        imported("npnet.papers.toy:make")(job.output_dir, **job.keys)
        return
    done = subprocess.run([sys.executable, "-m", "npnet", job.command, *job.overrides], check=False)
    if done.returncode:
        raise UserError(f"stopped, with exit code {done.returncode}: {job}; the same command resumes")


def write(path: Path, text: str) -> None:
    """Write a page, whole or not at all, and say so."""
    atomic.make_folder(path.parent)
    atomic.write_bytes(path, text.encode())
    print(f"\nwritten: {path}")
