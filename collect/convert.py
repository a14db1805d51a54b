"""Pairs in the published layout to shards: ``npnet convert DIR OUTPUT [lines=FILE] [metrics=[a,b]] [workers=N]``.

As in the official training script, a pair is kept if the first score of the golden picture is higher. The others are
also written, marked as rejected, so that ``collect.filter`` can select again. There are no embeddings; training makes
them (``train.py backbone=NAME``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from collect.plan import FORMAT, USED
from collect.published import Found, match, read_lines
from npnet.arguments import asked
from npnet.bounds import NumWorkers
from npnet.cli import run
from npnet.description import Description, imported
from npnet.errors import FieldError, UserError
from npnet.fields import Count, Name
from npnet.work.folder import OutputFolder, require_outside
from npnet.work.job import Workers
from npnet.work.processes import Processes

METRICS = {0: [], 1: ["hpsv2"], 4: ["pickscore", "hpsv2", "imagereward", "aes"]}
"""What the official script's score lists hold, by their length."""
SUMMARY = "Turn pairs in the published layout into shards."
POSITIONAL = ("pairs", "output_dir")


@dataclass(frozen=True, kw_only=True)
class ConvertSettings(Description):
    """The keys of ``convert``.

    Attributes:
        pairs: a folder of INDEX_SEED.npz files, in folders or not; it is only read.
        output_dir: the folder of the shards.
        lines: the JSON lines; by default the only .json or .jsonl file in the folder.
        metrics: names of the scores, in their order; by default those of the official script.
        chunk_size: pairs in a shard.
        workers: processes that convert.
    """

    pairs: Path
    output_dir: OutputFolder
    lines: Path | None = None
    metrics: tuple[Name, ...] | Name | None = None
    chunk_size: Count = 256
    workers: NumWorkers = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pairs.is_dir():
            raise FieldError("pairs", self.pairs, "no such folder")
        require_outside(self.output_dir, self.pairs)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Return the names of the scores, also where they were given as ``a,b``."""
        return tuple(self.metrics.split(",")) if isinstance(self.metrics, str) else self.metrics


@dataclass(frozen=True)
class ConvertPlan:
    """A conversion to be made.

    Attributes:
        settings: the command's keys.
        pairs: what is there, in order.
        metrics: names of the scores.
        counts: of the prompts, and of what is left out.
        lines_sha256: digest of the JSON lines.
    """

    settings: ConvertSettings
    pairs: Sequence[Found] = field(repr=False)
    metrics: Sequence[str]
    counts: dict[str, int]
    lines_sha256: str

    @property
    def num_chunks(self) -> int:
        """Return the number of shards."""
        return -(-len(self.pairs) // self.settings.chunk_size)

    def chunk(self, index: int) -> Sequence[Found]:
        """Return the pairs of a shard."""
        size = self.settings.chunk_size
        return self.pairs[index * size : (index + 1) * size]

    @cached_property
    def request(self) -> dict[str, Any]:
        """Return all that determines the shards; ``request.json`` of the folder."""
        return {
            "format": FORMAT,
            "converted_from": {"pairs": str(self.settings.pairs), "lines_sha256": self.lines_sha256},
            "num_samples": len(self.pairs),
            "num_chunks": self.num_chunks,
            "chunk_size": self.settings.chunk_size,
            "prompt_counts": self.counts,
            "selection": "all",
            "margin": 0.0,
            "weights": None,
            "keep_all": True,
            "selected_by": list(self.metrics[:1]),
        }


def make_convert_plan(settings: ConvertSettings) -> ConvertPlan:
    """Read the lines and find their files.

    Raises:
        UserError: see ``read_lines`` and ``match``.
    """
    where = settings.lines if settings.lines is not None else _only_lines(settings.pairs)
    pairs, counts = match(settings.pairs, read_lines(where), where)
    metrics = _metrics(pairs, settings.names, where)
    return ConvertPlan(settings, pairs, metrics, counts, hashlib.sha256(where.read_bytes()).hexdigest())


def convert(settings: ConvertSettings) -> None:
    """Write the pairs of a folder as shards; an interrupted conversion resumes.

    Raises:
        UserError: see ``make_convert_plan`` and ``read_npz``.
    """
    plan = make_convert_plan(settings)
    imported("collect.converting:run")(plan, Workers(Processes(), count=settings.workers))
    for name, count in plan.counts.items():
        if name != USED:
            print(f"{count} {name}")


def _only_lines(folder: Path) -> Path:
    found = sorted(path for suffix in ("json", "jsonl") for path in folder.glob(f"*.{suffix}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{folder}: exactly one .json or .jsonl file is needed, got {names}; lines=FILE names it")
    return found[0]


def _metrics(pairs: Sequence[Found], given: Sequence[str] | None, where: Path) -> list[str]:
    counts = sorted({len(pair.line.scores) for pair in pairs})
    if len(counts) != 1:
        raise UserError(f"{where}: the lines have different numbers of scores: {', '.join(map(str, counts))}")
    metrics = given if given is not None else METRICS.get(counts[0], [])
    if len(metrics) != counts[0] or len(set(metrics)) != len(metrics) or not all(metrics):
        raise UserError(f"{where}: has {counts[0]} scores for each picture; name them: metrics=[NAME,NAME]")
    return list(metrics)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, or see ``convert``.
    """
    settings = asked(ConvertSettings, arguments, "convert", SUMMARY, POSITIONAL)
    if settings is not None:
        convert(settings)
    return 0


if __name__ == "__main__":
    run("convert")
