"""The results of an evaluation on disk: a **cell** holds the results of one method on some samples.

Under ``output_dir``: ``cells/METHOD/CELL.json`` and beside them the kept pictures, ``SAMPLE.webp``. METHOD is the
digest of everything that decides a method's pictures. So no result is computed twice, even if the method has another
label or is compared with other methods. A cell holds a checksum of itself and of its pictures, so that no damaged or
foreign file counts as a result. ``store`` finds cells; ``images/LABEL/KEY.webp`` shows the pictures of the present
samples.
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
    """A cell that cannot be used; the message says why."""


@dataclass(frozen=True)
class Noted:
    """A cell's notes on a metric.

    Attributes:
        truncated: prompts that were cut.
        smoke: whether its weights are random.
        text_length: tokens where prompts are cut; None where they never are.
        remarks: see ``Scorer.remarks``.
    """

    truncated: list[str]
    smoke: bool
    text_length: int | None = None
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Drawn:
    """The cost of making the pictures of N samples.

    Attributes:
        device: the device that computed.
        first: whether its first batch also includes the start-up.
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
    """The results of one method on N samples.

    Attributes:
        samples: their prompts and seeds, in order.
        scores: digest of a metric -> N scores.
        metrics: digest of a metric -> its notes.
        versions: of what the numbers depend on.
        drawn: of the pictures; None where kept 8-bit pictures were scored.
        values: name of a measure, with what decides it -> N values. They describe the noise of each sample, or are the
            features of its picture, from which the diversity of a prompt is computed later.
    """

    samples: list[Key]
    scores: dict[str, list[float]]
    metrics: dict[str, Noted]
    versions: dict[str, str]
    drawn: Drawn | None = None
    values: dict[str, list[Value]] = field(default_factory=dict)


def folder_of(output_dir: Path, method: str) -> Path:
    """Return the folder of the cells of a method, given by its digest."""
    return Path(output_dir) / FOLDER / method[:DIGITS]


def stored_picture(output_dir: Path, method: str, sample: Key) -> Path:
    """Return the path of a kept picture, which does not depend on the other samples."""
    name = sha256(json.dumps(sample, ensure_ascii=False).encode(errors="surrogatepass"))
    return folder_of(output_dir, method) / f"{name[:DIGITS]}.webp"


def picture_path(output_dir: Path, label: str, sample: Sample) -> Path:
    """Return the path under which a method's picture of a sample is shown."""
    return Path(output_dir) / "images" / label / f"{sample.key}.webp"


def write_cell(folder: Path, cell: Cell) -> Path:
    """Write a cell, as the last step of its computation; its name is a digest of what it holds, without the values.

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
        Damaged: it cannot be read, was changed, or lacks a value for a sample.
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
