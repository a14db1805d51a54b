"""What was computed, on disk: a **cell** holds what one method did on some samples, by the metrics it had then.

Under ``output_dir``: ``cells/METHOD/CELL.json`` and beside them the kept pictures, ``SAMPLE.webp``. METHOD is the
digest of all that decides a method's pictures, so that nothing is computed again that is there already, whatever it is
called and whatever it is compared with. A cell carries a checksum of itself and of its pictures, so that nothing
damaged or foreign is taken for a result. ``store`` finds cells; ``images/LABEL/KEY.webp`` shows the pictures of the
present samples.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from npnet.data.prompts import Sample
from npnet.engine.methods import Trace
from npnet.errors import reworded
from npnet.evaluation.identity import DIGITS, FOLDER
from npnet.records import Cost
from npnet.untrusted import parse_json
from npnet.work import atomic

CHECKSUM = "sha256"
Key = tuple[str, int]
"""A sample wherever it stands in the order: its prompt and its seed."""
Value = float | str | None
"""Of a measure for one sample: a number, or a text (a vector in base64)."""


class Damaged(ValueError):
    """A cell that cannot be used; the text says why."""


@dataclass(frozen=True)
class Noted:
    """What a cell notes of a metric.

    Attributes:
        truncated: prompts that were cut.
        smoke: its weights are random.
        text_length: tokens where prompts are cut; None where they never are.
        remarks: see ``Scorer.remarks``.
    """

    truncated: list[str]
    smoke: bool
    text_length: int | None = None
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Drawn:
    """What making the pictures of N samples came to.

    Attributes:
        device: that computed.
        first: its first batch also paid for starting up.
        cost: totals.
        batches: (number of samples, seconds) of each.
        peak_bytes: see ``MethodScores``.
        traces: of a search, one for each batch.
        pictures: the SHA-256 of each picture; None where it was not kept.
    """

    device: str
    first: bool
    cost: Cost
    batches: list[tuple[int, float]]
    peak_bytes: int | None = None
    traces: list[Trace] = field(default_factory=list)
    pictures: list[str | None] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """What one method did on N samples.

    Attributes:
        samples: their prompts and seeds, in order.
        scores: digest of a metric -> N scores.
        metrics: digest of a metric -> what is noted.
        versions: of what the numbers depend on.
        drawn: of the pictures; None where the scores are those of kept pictures, of 8 bits.
        values: name of a measure, with what decides it -> N values of the samples: what the method's noise is like, or
            a picture's features, from which the measures of a prompt are made when the results are.
    """

    samples: list[Key]
    scores: dict[str, list[float]]
    metrics: dict[str, Noted]
    versions: dict[str, str]
    drawn: Drawn | None = None
    values: dict[str, list[Value]] = field(default_factory=dict)


def folder_of(output_dir: Path, method: str) -> Path:
    """Return where the cells of a method, given by its digest, lie."""
    return Path(output_dir) / FOLDER / method[:DIGITS]


def stored_picture(output_dir: Path, method: str, sample: Key) -> Path:
    """Return where a kept picture lies: under a name that does not depend on the other samples."""
    name = sha256(json.dumps(sample, ensure_ascii=False).encode(errors="surrogatepass"))
    return folder_of(output_dir, method) / f"{name[:DIGITS]}.webp"


def picture_path(output_dir: Path, label: str, sample: Sample) -> Path:
    """Return where a method's picture of a sample is shown."""
    return Path(output_dir) / "images" / label / f"{sample.key}.webp"


def write_cell(folder: Path, cell: Cell) -> Path:
    """Write a cell, the last act of computing it; its name says what it holds.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    value = finite(asdict(cell))
    holds = [value["samples"], sorted(cell.scores), cell.drawn is None, sorted(cell.values)]
    path = folder / f"{sha256(json.dumps(holds).encode())[:DIGITS]}.json"
    atomic.make_folder(folder)
    atomic.write_json(path, {**value, CHECKSUM: _digest(value)})
    return path


def read_cell(path: Path) -> Cell:
    """Read a cell, NaN where JSON holds null.

    Raises:
        Damaged: it is unreadable, was changed, or does not hold a value for each sample.
    """
    kinds = (OSError, ValueError, KeyError, TypeError, AttributeError)
    with reworded(kinds, Damaged, "cannot be read (", ")", but=Damaged):
        value = parse_json(path.read_bytes())
        if not isinstance(value, dict) or value.pop(CHECKSUM, None) != _digest(value):
            raise Damaged("was changed or is damaged (its checksum does not match)")
        cell = Cell(
            samples=[(str(prompt), int(seed)) for prompt, seed in value["samples"]],
            scores={str(name): _numbers(found) for name, found in value["scores"].items()},
            metrics={str(name): Noted(**noted) for name, noted in value["metrics"].items()},
            versions={str(name): str(number) for name, number in value["versions"].items()},
            drawn=None if value["drawn"] is None else _drawn(value["drawn"]),
            values={str(name): list(found) for name, found in value["values"].items()},
        )
    columns: list[Sequence[Any]] = [*cell.scores.values(), *cell.values.values()]
    if cell.drawn is not None:
        columns.append(cell.drawn.pictures)
    if any(len(column) != len(cell.samples) for column in columns) or cell.scores.keys() != cell.metrics.keys():
        raise Damaged("does not hold a value for each sample")
    return cell


def sha256(data: bytes) -> str:
    """Return the hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def _digest(value: Mapping[str, Any]) -> str:
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def finite(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: NaN and infinity as None."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _drawn(plain: Mapping[str, Any]) -> Drawn:
    return Drawn(
        device=str(plain["device"]),
        first=bool(plain["first"]),
        cost=Cost(**plain["cost"]),
        batches=[(int(count), float(seconds)) for count, seconds in plain["batches"]],
        peak_bytes=plain["peak_bytes"],
        traces=[Trace(_numbers(t["forwards"]), [_numbers(row) for row in t["scores"]]) for t in plain["traces"]],
        pictures=[None if name is None else str(name) for name in plain["pictures"]],
    )


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
