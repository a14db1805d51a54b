"""A chunk of an evaluation on disk: its scores and costs, which say that it is done, and the pictures that were kept.

Under ``output_dir``: ``images/LABEL/KEY.webp`` and, written last, ``chunks/000000.json``. The latter carries a checksum
of itself and of every picture, so that nothing damaged or foreign is taken for a result.
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
from npnet.engine.methods import MethodScores, Trace
from npnet.records import Cost
from npnet.untrusted import parse_json
from npnet.work import atomic

CHECKSUM = "sha256"


class Damaged(ValueError):
    """A chunk that cannot be used; the text says why."""


@dataclass(frozen=True)
class Noted:
    """What a chunk notes of a metric.

    Attributes:
        truncated: prompts that were cut.
        smoke: its weights are random.
        text_length: tokens where prompts are cut; None where they never are.
    """

    truncated: list[str]
    smoke: bool
    text_length: int | None = None


@dataclass(frozen=True)
class ChunkRecord:
    """A chunk's results.

    Attributes:
        samples: their keys, in order.
        device: that computed.
        first: its first batches also paid for starting up.
        methods: label -> scores and costs.
        metrics: label -> what is noted.
        pictures: path under ``output_dir`` -> SHA-256.
    """

    samples: list[str]
    device: str
    first: bool
    methods: dict[str, MethodScores]
    metrics: dict[str, Noted]
    pictures: dict[str, str] = field(default_factory=dict)


def picture_path(output_dir: Path, label: str, sample: Sample) -> Path:
    """Return where a method's picture of a sample lies."""
    return Path(output_dir) / "images" / label / f"{sample.key}.webp"


def write_chunk(path: Path, record: ChunkRecord) -> None:
    """Write a chunk, the last act of computing it.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    value = _finite(asdict(record))
    atomic.make_folder(path.parent)
    atomic.write_json(path, {**value, CHECKSUM: _digest(value)})


def read_chunk(path: Path, labels: Sequence[str], metrics: Sequence[str]) -> ChunkRecord:
    """Read a chunk; methods and metrics are in the order given, NaN where JSON holds null.

    Raises:
        Damaged: it is unreadable, was changed, or lacks a method or a metric.
    """
    try:
        value = parse_json(path.read_bytes())
        if not isinstance(value, dict) or value.pop(CHECKSUM, None) != _digest(value):
            raise Damaged("was changed or is damaged (its checksum is another)")
        return ChunkRecord(
            samples=list(value["samples"]),
            device=str(value["device"]),
            first=bool(value["first"]),
            methods={label: _scores(value["methods"][label], metrics) for label in labels},
            metrics={name: Noted(**value["metrics"][name]) for name in metrics},
            pictures=dict(value["pictures"]),
        )
    except Damaged:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"cannot be read ({type(error).__name__})") from error


def require_whole(record: ChunkRecord, samples: Sequence[Sample], kept: int, output_dir: Path) -> None:
    """Check that a chunk is of these samples, and that the kept pictures are those that were written.

    Args:
        record: as it was read.
        samples: of the chunk.
        kept: how many of them, the first ones, have their pictures kept.
        output_dir: of the run.

    Raises:
        Damaged: says what is wrong.
    """
    if record.samples != [sample.key for sample in samples]:
        raise Damaged("is of other samples")
    for label, method in record.methods.items():
        if any(len(scores) != len(samples) for scores in method.scores.values()):
            raise Damaged(f"lacks scores of {label}")
        for sample in samples[:kept]:
            path = picture_path(output_dir, label, sample)
            name = str(path.relative_to(output_dir))
            if not path.is_file():
                raise Damaged(f"its picture {name} is gone")
            if sha256(path.read_bytes()) != record.pictures.get(name):
                raise Damaged(f"its picture {name} was changed or is damaged")


def sha256(data: bytes) -> str:
    """Return the hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def _digest(value: Mapping[str, Any]) -> str:
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _finite(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: NaN and infinity as None."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _scores(plain: Mapping[str, Any], names: Sequence[str]) -> MethodScores:
    return MethodScores(
        scores={name: _numbers(plain["scores"][name]) for name in names},
        cost=Cost(**plain["cost"]),
        batches=[(int(count), float(seconds)) for count, seconds in plain["batches"]],
        peak_bytes=plain["peak_bytes"],
        traces=[Trace(trace["forwards"], [_numbers(row) for row in trace["scores"]]) for trace in plain["traces"]],
    )


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
