"""The command ``npnet paper``: every table and figure of the papers, on any setting.

    npnet paper list
    npnet paper TABLE setting=NAME [dry_run=true] [network_path=FILE] [prompts_folder=DIR] [methods=[...]] [train=true]

It plans the project's own commands, says what is there, what is missing and what it costs, runs what is missing (each
command resumes by itself), and writes ``outputs/papers/SETTING/TABLE/README.md``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.arguments import describe, parse
from npnet.description import Description
from npnet.errors import UserError
from npnet.fields import Name
from npnet.papers.costs import cost
from npnet.papers.jobs import Job
from npnet.papers.page import page
from npnet.papers.planning import FOLDER, Asked, plan
from npnet.papers.setting import Setting, setting, settings
from npnet.papers.table import Table, table, tables
from npnet.text import count
from npnet.work import atomic

SUMMARY = "Make a table or figure of the papers on a setting, or list them all: npnet paper list."
POSITIONAL = ("table",)


@dataclass(frozen=True)
class PaperSettings(Description):
    """The keys of ``paper``.

    Attributes:
        table: its name, or list.
        setting: where it is made.
        dry_run: say what is there, what is missing and what it costs, and run nothing.
        network_path: the network, instead of the shipped or trained one: a folder of ours, or a released .pth.
        prompts_folder: holds prompt files that are not fetched (simple_cases.json).
        methods: noise methods, instead of the table's.
        train: train the network even where one is shipped.
        folder: of all outputs.
        keys: further keys of every evaluation, as {prompts.limit: 8}.
    """

    table: Name
    setting: Name = "shapes"
    dry_run: bool = False
    network_path: str | None = None
    prompts_folder: Path | None = None
    methods: tuple[Name, ...] = ()
    train: bool = False
    folder: Path = FOLDER
    keys: dict[str, Any] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, the table cannot be made there, or a command of it fails.
    """
    if not arguments or {"-h", "--help"} & set(arguments):
        print(describe(PaperSettings, "paper", SUMMARY, POSITIONAL))
        return 0
    asked = parse(PaperSettings, arguments, POSITIONAL)
    if asked.table == "list":
        print(listing(asked), end="")
        return 0
    wanted, where = table(asked.table), setting(asked.setting)
    target = tables()[wanted.same_as] if wanted.same_as else wanted
    if reason := wanted.why_not(asked.setting, where) or target.why_not(asked.setting, where):
        raise UserError(f"{asked.table} setting={asked.setting}: not possible: {reason}")
    jobs = plan(asked.table, wanted, asked.setting, _asked(asked))
    print(_said(jobs))
    if asked.dry_run:
        return 0
    if lacking := next((job.missing for job in jobs if job.missing and not job.is_done), None):
        raise UserError(lacking)
    for job in jobs:
        if not job.is_done:
            _run(job)
    _write(asked, target, where, jobs)
    return 0


def _asked(asked: PaperSettings) -> Asked:
    return Asked(asked.network_path, asked.prompts_folder, asked.methods, asked.train, asked.folder, asked.keys)


def _said(jobs: Sequence[Job]) -> str:
    """Return a line for each job: whether it is there, what it is, what it costs."""
    lines, total = [], 0
    for job in jobs:
        price = cost(job)
        total += 0 if job.is_done else price.forwards or 0
        words = [count(price.pairs, "pair")] if price.pairs else []
        if job.command in ("collect", "evaluate"):
            words += ["forwards depend on the data" if price.forwards is None else f"{price.forwards:,} forwards"]
        words += [f"{price.optimisation_steps:,} steps"] if price.optimisation_steps else []
        state = "there  " if job.is_done else "missing"
        lines += [f"{state} {job.command:<8} {job.output_dir}  {', '.join(words)}", f"        {job}"]
        lines += [f"        {job.missing}"] if job.missing else []
    missing = sum(not job.is_done for job in jobs)
    return "\n".join([*lines, f"{count(missing, 'command')} of {len(jobs)} to run, {total:,} forwards that are known"])


def _run(job: Job) -> None:
    print(f"\n{job}", flush=True)
    done = subprocess.run([sys.executable, "-m", "npnet", job.command, *job.overrides], check=False)
    if done.returncode:
        raise UserError(f"stopped, with exit code {done.returncode}: {job}; the same command resumes")


def _write(asked: PaperSettings, target: Table, where: Setting, jobs: Sequence[Job]) -> None:
    evaluations = [job for job in jobs if job.command == "evaluate"]
    path = asked.folder / asked.setting / asked.table / "README.md"
    atomic.make_folder(path.parent)
    atomic.write_bytes(path, page(target, where, evaluations).encode())
    print(f"\nwritten: {path}")


def listing(asked: PaperSettings) -> str:
    """Return every table and figure on every setting: done, ready, or not possible and why."""
    lines = []
    for name, wanted in sorted(tables().items(), key=_order):
        lines.append(f"{name}  {wanted.title}" + (f" (made by {wanted.same_as})" if wanted.same_as else ""))
        if isinstance(wanted.not_possible, str):
            lines.append(f"  not possible: {wanted.not_possible}")
            continue
        others = []
        for where, place in settings().items():
            reason = wanted.why_not(where, place)
            if where not in wanted.settings and where not in wanted.not_possible:
                others.append(where)
            elif reason:
                lines.append(f"  {where}: not possible: {reason}")
            else:
                lines.append(f"  {where}: {_state(plan(name, wanted, where, _asked(asked)), where)}")
        lines.append(f"  the paper has no such rows: {', '.join(others)}")
    return "\n".join(lines) + "\n"


def _order(named: tuple[str, Table]) -> list[int | str]:
    """Return what sorts table2 before table10."""
    words = re.split(r"(\d+)", named[1].title + named[0])
    return [int(word) if word.isdigit() else word for word in words]


def _state(jobs: Sequence[Job], where: str) -> str:
    if all(job.is_done for job in jobs if job.command == "evaluate"):
        return "done"
    todo = count(sum(not job.is_done for job in jobs), "command")
    if missing := next((job.missing for job in jobs if job.missing), None):
        return f"ready, {todo} to run; {missing}"
    return f"ready, {todo} to run" + ("" if where.startswith("shapes") else "; published weights are fetched")
