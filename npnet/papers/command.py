"""The command ``npnet paper``: every table and figure of the papers, on any setting.

    npnet paper list
    npnet paper TABLE setting=NAME [dry_run=true] [network_path=FILE] [inputs=DIR] [methods=[...]] [train=true]
    npnet paper all [training=false] [smoke=true] [page=docs/paper.md]

It plans the project's own commands, lists what exists, what is missing and what that costs, runs the missing commands
(each can be resumed), and writes ``outputs/papers/SETTING/TABLE/README.md``. ``all`` makes every table and figure that
the built-in models can make, and one page of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.arguments import describe, parse
from npnet.description import Description
from npnet.errors import UserError
from npnet.fields import Name
from npnet.papers.asked import FOLDER, Asked
from npnet.papers.book import book, drawn, figure_name, listing, makeable
from npnet.papers.page import page, reports
from npnet.papers.page_picture import NAME, draw, is_drawn
from npnet.papers.planning import plan
from npnet.papers.running import described, run_missing, write
from npnet.papers.setting import setting
from npnet.papers.table import shown_by, table, tables

SUMMARY = "Make a table or figure of the papers on a setting, or list them all: npnet paper list."
POSITIONAL = ("table",)


@dataclass(frozen=True)
class PaperSettings(Description):
    """The keys of ``paper``.

    Attributes:
        table: its name, or list, or all.
        setting: where it is made.
        dry_run: say what is there, what is missing and what it costs, and run nothing.
        network_path: the network, instead of the shipped or trained one: a folder of ours, or a released .pth.
        inputs: a folder of what is not fetched: simple_cases.json and complex_cases.json of Noise Diffusion; fish (a
            folder of ImageNet's pictures) and inception.pth for figure 10; control (images and a metadata.jsonl) for
            figure 14; training_pairs.json, published prompts with their seeds, for collections; mps.safetensors, as
            npnet convert-mps writes it, without which MPS is left out (an evaluation can grow by it).
        methods: noise methods, instead of the table's.
        train: train the network even where one is shipped.
        folder: of all outputs.
        keys: further keys of every evaluation, as {prompts.limit: 8}.
        smoke: a small try of every command, in FOLDER/smoke; shows that a table runs, and nothing else.
        training: of all: with the tables that train networks first (hours).
        page: of all: the file of the page.
    """

    table: Name
    setting: Name = "shapes"
    dry_run: bool = False
    network_path: str | None = None
    inputs: Path | None = None
    methods: tuple[Name, ...] = ()
    train: bool = False
    folder: Path = FOLDER
    keys: dict[str, Any] = field(default_factory=dict)
    smoke: bool = False
    training: bool = True
    page: Path | None = None


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
        print(listing(_asked(asked)), end="")
    elif asked.table == "all":
        _make_all(asked)
    else:
        _make(asked.table, asked.setting, asked)
    return 0


def _make(name: str, where: str, asked: PaperSettings) -> None:
    """Plan a table, run the missing commands, and write its page."""
    wanted, target = table(name), shown_by(name)
    setting(where)
    said = _asked(asked)
    if reason := wanted.why_not(where, said.setting(where)) or target.why_not(where, said.setting(where)):
        raise UserError(f"{name} setting={where}: not possible: {reason}")
    jobs = plan(name, wanted, where, said)
    print(described(jobs))
    if asked.dry_run:
        return
    run_missing(jobs)
    path = said.root(where) / name / "README.md"
    write(path, page(target, where, jobs, said) + reports(jobs, path.parent))
    if is_drawn(target, jobs):
        draw(target, jobs, path.with_name(NAME))


def _make_all(asked: PaperSettings) -> None:
    """Make every table that the built-in models can make, and one page of them."""
    said = _asked(asked)
    for name, where in makeable(said):
        jobs = plan(name, tables()[name], where, said)
        if asked.training or all(job.is_done for job in jobs if job.command == "train"):
            print(f"\n{name} setting={where}")
            _make(name, where, asked)
    if not asked.dry_run:
        path = asked.page or said.folder / "README.md"
        write(path, book(said, path.stem))
        for name, where, table_jobs in drawn(said):
            draw(tables()[name], table_jobs, path.with_name(figure_name(path.stem, name, where)))


def _asked(asked: PaperSettings) -> Asked:
    return Asked(asked.network_path, asked.inputs, asked.methods, asked.train, asked.folder, asked.keys, asked.smoke)
