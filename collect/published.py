"""The published layout of pairs: which ``INDEX_SEED.npz`` belongs to which JSON line, and what the lines say.

The official script leaves one ``INDEX_SEED.npz`` for each pair (``arr_0`` the source noise, ``arr_1`` the golden one,
``(1, C, h, w)`` float16, ``arr_2`` the index) and one line of JSON for each: ``index``, ``seed``, ``caption``,
``original_score_list``, ``optimized_score_list``. Its own reader evaluates the lines and lets numpy unpickle; this one
parses JSON and takes arrays of numbers alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collect.plan import USED
from npnet.data.json_lines import read_json_lines
from npnet.data.prompt_text import clean
from npnet.data.prompts import Sample
from npnet.errors import UserError, reworded
from npnet.fields import Whole, checked


@dataclass(frozen=True)
class Line:
    """One line of the JSON file."""

    index: int
    seed: int | None
    caption: str
    scores: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Found:
    """A pair that is there: its file and its line."""

    path: Path
    sample: Sample
    line: Line


def read_lines(path: Path) -> list[Line]:
    """Read the JSON lines.

    Raises:
        UserError: names the file and the line.
    """
    lines = []
    for number, entry in read_json_lines(path, str(path), nan=True):
        with reworded((ValueError, KeyError, TypeError), UserError, f"{path}: line {number}: "):
            lines.append(_line(entry))
    return lines


def _line(entry: Any) -> Line:
    if not isinstance(entry, dict):
        raise ValueError("is not a record")
    index, seed, caption = entry["index"], entry.get("seed"), entry["caption"]
    for name, value in (("index", index), ("seed", 0 if seed is None else seed)):
        checked(Whole, value, name)
    checked(str, caption, "caption")
    sides = [entry.get(name) or [] for name in ("original_score_list", "optimized_score_list")]
    if len(sides[0]) != len(sides[1]):
        raise ValueError(f"{len(sides[0])} original scores, {len(sides[1])} optimized ones")
    numbers = [[_number(value) for value in side] for side in sides]
    return Line(index, seed, caption, tuple(zip(*numbers, strict=True)))


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    # NaN and infinity are scores of pictures that came out wrong, and are left out later
    return value if isinstance(value, float) else float(checked(float, value, "score"))


def match(folder: Path, lines: Sequence[Line], where: Path) -> tuple[list[Found], dict[str, int]]:
    """Find the file of every line, in the order of index and seed; count what is left out.

    Raises:
        UserError: a file or a line that appears twice, or a line without its file.
    """
    files: dict[tuple[int, int], Path] = {}
    for path in sorted(folder.rglob("*.npz")):
        first, _, second = path.stem.partition("_")
        if not (first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
            raise UserError(f"{path}: is not named INDEX_SEED.npz")
        other = files.setdefault((int(first), int(second)), path)
        if other is not path:
            raise UserError(f"{path}: has the index and seed of {other}; convert the folders one by one")
    if not files:
        raise UserError(f"{folder}: holds no INDEX_SEED.npz")
    seeds: dict[int, list[int]] = {}
    for index, number in files:
        seeds.setdefault(index, []).append(number)
    left_out: Counter[str] = Counter()
    found: dict[tuple[int, int], Found] = {}
    for line in lines:
        seed = line.seed if line.seed is not None else next(iter(seeds.get(line.index, [])), None)
        if seed is None or (line.index, seed) not in files:
            raise UserError(f"{where}: the pair of index {line.index} and seed {seed} has no {line.index}_{seed}.npz")
        if (line.index, seed) in found:
            raise UserError(f"{where}: the pair of index {line.index} and seed {seed} appears twice")
        (prompt,) = clean([line.caption], left_out) or [""]
        if prompt:
            sample = Sample(line.index, prompt, seed)
            found[line.index, seed] = Found(files[line.index, seed], sample, line)
        else:
            files.pop((line.index, seed))
    counts = {USED: len({pair.sample.prompt for pair in found.values()})}
    counts |= {f"left out: {reason}": count for reason, count in sorted(left_out.items())}
    unnamed = len(files) - len(found)
    if unnamed:
        counts["left out: npz without a line"] = unnamed
    if not found:
        raise UserError(f"{where}: names no pair of {folder}")
    return [found[key] for key in sorted(found)], counts
