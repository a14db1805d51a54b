"""The published figures as data: a file of ``published/`` for each table, its rows as they are printed.

A row has its keys (backbone, prompts, method, ...) and a figure for each metric, None where the paper prints none.
Visible mistakes in a paper are transcribed as printed and marked as a **slip**. A statement of a paper about its own
figures is a **fact**, which a test computes again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from npnet.description import Description
from npnet.errors import FieldError
from npnet.fields import Name, NotEmpty
from npnet.papers.files import named, read_all

FOLDER = Path(__file__).parent / "published"
Key = str | int | float
Cell = str | int | float | None


@dataclass(frozen=True)
class Repeats(Description):
    """The row whose figures a slip repeats."""

    row: tuple[Key, ...]


@dataclass(frozen=True)
class Slip(Description):
    """A visible mistake, or a doubtful figure, in a paper.

    Attributes:
        row: the keys of the row.
        metrics: the figures that are meant.
        says: why, in words.
        repeats: the row of the same table that has the same figures.
    """

    row: tuple[Key, ...]
    metrics: tuple[Name, ...]
    says: Name
    repeats: Repeats | None = None


@dataclass(frozen=True)
class Figure(Description):
    """One figure of a table: its row and its metric."""

    row: tuple[Key, ...]
    metric: Name


@dataclass(frozen=True)
class Fact(Description):
    """A paper's statement on two of its figures, ``of`` and ``against``: their difference or their ratio."""

    says: Name
    of: Figure
    against: Figure
    difference: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Published(Description):
    """One published table.

    Attributes:
        paper: golden_noise, noise_diffusion or semantic_erasure.
        where: in the paper.
        title: what it shows.
        keys: names of a row's first cells, which tell it from every other.
        metrics: names of its other cells, on the paper's own scale.
        rows: cells, keys first.
        slips: what is wrong in it.
        facts: what the text says of it.
    """

    paper: Name
    where: Name
    title: Name
    keys: Annotated[tuple[Name, ...], NotEmpty()]
    metrics: Annotated[tuple[Name, ...], NotEmpty()]
    rows: Annotated[tuple[tuple[Cell, ...], ...], NotEmpty()]
    slips: tuple[Slip, ...] = field(default=())
    facts: tuple[Fact, ...] = field(default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        for row in self.rows:
            if len(row) != len(self.keys) + len(self.metrics):
                raise FieldError("rows", list(row), f"{len(self.keys)} keys and {len(self.metrics)} figures are needed")
        if len(self.figures) != len(self.rows):
            raise FieldError("keys", list(self.keys), "two rows have the same")
        places = [(slip.row, slip.metrics) for slip in self.slips]
        places += [(slip.repeats.row, slip.metrics) for slip in self.slips if slip.repeats]
        places += [(f.row, (f.metric,)) for fact in self.facts for f in (fact.of, fact.against)]
        for row, metrics in places:
            if row not in self.figures or not set(metrics) <= set(self.metrics):
                raise FieldError("row", list(row), f"has no such row, or not the metrics {', '.join(metrics)}")

    @property
    def figures(self) -> dict[tuple[Cell, ...], dict[str, float | None]]:
        """Return the figures of each row by metric, by the row's keys."""
        width = len(self.keys)
        return {row[:width]: dict(zip(self.metrics, row[width:], strict=True)) for row in self.rows}  # type: ignore[arg-type]

    def select(self, **keys: Any) -> dict[tuple[Cell, ...], dict[str, float | None]]:
        """Return the rows that have these keys, as far as the table has such keys."""
        wanted = {self.keys.index(name): value for name, value in keys.items() if name in self.keys}
        return {
            row: figures
            for row, figures in self.figures.items()
            if all(row[place] == value for place, value in wanted.items())
        }

    def slips_of(self, row: tuple[Cell, ...], metric: str) -> list[str]:
        """Return what is said against a figure."""
        return [slip.says for slip in self.slips if slip.row == row and metric in slip.metrics]


@cache
def published() -> Mapping[str, Published]:
    """Return every published table by its name.

    Raises:
        UserError: a file is not of this form; names it.
    """
    return read_all(Published, sorted(FOLDER.glob("*.yaml")))


def table(name: str) -> Published:
    """Return a published table.

    Raises:
        UserError: there is none of this name.
    """
    return named("published table", name, published())
