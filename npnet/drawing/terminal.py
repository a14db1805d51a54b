"""Tables and lines on a terminal, as plain text: markup and escapes have no effect."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from npnet.text import visible

LOG_COLUMNS = 400
"""Width where the output is a file: enough that no line is broken."""


class PlainConsole(Console):
    """A console that shows strings as they are, and leaves to the command what a reader that has gone means."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """Raise what was raised; Rich itself would leave with exit code 1."""
        raise


def console(file: IO[str] | None = None) -> Console:
    """Return a console on a stream, by default standard output."""
    file = sys.stdout if file is None else file
    return PlainConsole(file=file, width=None if file.isatty() else LOG_COLUMNS)


def cell(text: object, style: str = "") -> Text:
    """Return a piece of text that is shown unchanged, even a stranger's."""
    return Text(visible(text, keep="\n"), style=style)


def add_row(table: Table, texts: Iterable[object]) -> None:
    """Add a row of texts, even strangers'."""
    table.add_row(*map(cell, texts))


def print_facts(title: object, facts: Iterable[tuple[object, object]]) -> None:
    """Print names and values as a table of two columns; long values are folded, not cut."""
    table = Table(title=cell(title), show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # a path cut short names no file
    for fact in facts:
        add_row(table, fact)
    PlainConsole().print(table)
