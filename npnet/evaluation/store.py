"""The cells of an output folder, found by method, sample and metric, and checked."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from npnet.evaluation.cells import Cell, Damaged, Key, Value, folder_of, read_cell, sha256, stored_picture

log = logging.getLogger(__name__)

Rank = tuple[bool, str]
"""Of a cell: exact scores come before those of pictures, then names are compared."""
Place = tuple[Rank, Cell, int]
"""A sample in a cell."""


class Store:
    """Finds results on disk. Where a result was computed twice, it always finds the same one, in any order of reading.

    Args:
        output_dir: of the run.
        methods: digests, see ``identity``; only their cells are read.
        mends: remove damaged cells, so that they are computed again; otherwise leave them and count them as missing.
    """

    def __init__(self, output_dir: Path, methods: Iterable[str], mends: bool = False) -> None:
        self.output_dir, self.methods, self.mends = Path(output_dir), sorted(set(methods)), mends
        self._seen: set[Path] = set()
        self._drawn: dict[tuple[str, Key], Place] = {}
        self._scores: dict[tuple[str, str, Key], Place] = {}
        self._values: dict[tuple[str, str, Key], Place] = {}
        self._pictures: dict[tuple[str, Key], set[str]] = {}
        self._whole: dict[tuple[str, Key], bool] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the cells that were written since the last time."""
        for method in self.methods:
            for path in sorted(folder_of(self.output_dir, method).glob("*.json")):
                if path in self._seen:
                    continue
                try:
                    cell = read_cell(path)
                except Damaged as error:
                    log.warning("%s %s; what it held is computed again", path, error)
                    if self.mends:
                        path.unlink(missing_ok=True)
                    continue
                self._seen.add(path)
                self._add(method, path.name, cell)

    def drawn(self, method: str, sample: Key) -> Place | None:
        """Return the place of a sample's picture and its cost."""
        return self._drawn.get((method, sample))

    def score(self, method: str, metric: str, sample: Key) -> Place | None:
        """Return the place of a sample's score by a metric, given by its digest."""
        return self._scores.get((method, metric, sample))

    def value(self, method: str, measure: str, sample: Key) -> Value:
        """Return a sample's value of a measure, or None."""
        place = self._values.get((method, measure, sample))
        return None if place is None else place[1].values[measure][place[2]]

    def has_picture(self, method: str, sample: Key) -> bool:
        """Say whether a sample's picture was kept and is undamaged; damage is reported once."""
        known = self._pictures.get((method, sample))
        if not known:
            return False
        if (method, sample) not in self._whole:
            path = stored_picture(self.output_dir, method, sample)
            problem = None if path.is_file() else "is gone"
            if problem is None and sha256(path.read_bytes()) not in known:
                problem = "was changed or is damaged"
            if problem:
                log.warning("%s %s (%s, seed %d); it is computed again", path, problem, *sample)
            self._whole[method, sample] = problem is None
        return self._whole[method, sample]

    def _add(self, method: str, name: str, cell: Cell) -> None:
        rank = (cell.drawn is None, name)
        for index, sample in enumerate(cell.samples):
            place = rank, cell, index
            if cell.drawn is not None:
                _enter(self._drawn, (method, sample), place)
                picture = cell.drawn.pictures[index]
                if picture is not None:
                    self._pictures.setdefault((method, sample), set()).add(picture)
                    self._whole.pop((method, sample), None)
            for metric in cell.scores:
                _enter(self._scores, (method, metric, sample), place)
            for measure in cell.values:
                _enter(self._values, (method, measure, sample), place)


def _enter(table: dict[Any, Place], key: Any, place: Place) -> None:
    """Enter a place, unless one of a lower rank is there."""
    if key not in table or place[0] < table[key][0]:
        table[key] = place
