"""GenEval's rules (Ghosh et al. 2023): do the detected objects in a picture match its prompt?

A task includes objects (a class, how many, of which colour, where) and excludes others. As published:

- detections above 0.3 confidence count, above 0.9 in the task ``counting``; of a class the 16 most confident ones;
- of an included class with at least its count, only the most confident ones up to the count are used: that many must
  have the colour, and each must have the right position relative to every object it refers to;
- of an excluded class there must be fewer than its count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from npnet.errors import UserError

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
RELATIONS = ("left of", "right of", "above", "below")
CONFIDENCE, COUNTING_CONFIDENCE = 0.3, 0.9
MOST_OF_A_CLASS = 16
CLEARANCE = 0.1
"""Of the two objects' summed size along an axis: so far apart their centres must be before a side counts."""
NOWHERE = 1e-3
"""Pixels beyond the clearance, below which two objects are in one place."""

GROUPS: Mapping[str, list[Any] | None] = {"include": None, "exclude": []}
"""The lists of a task, and what is read where one is missing."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


@dataclass(frozen=True)
class Found:
    """An object that was detected.

    Attributes:
        score: confidence, in [0, 1].
        box: where it is.
        mask: ``(H, W)`` bool, its pixels; None where the detector gives boxes alone.
    """

    score: float
    box: Box
    mask: Any = None


@dataclass(frozen=True)
class Wanted:
    """An object that a task names.

    Attributes:
        name: its class.
        count: how many.
        colour: one of ``COLOURS``.
        relation: one of ``RELATIONS``.
        target: the included object, by its number from 0, that ``relation`` refers to.
    """

    name: str
    count: int
    colour: str | None = None
    relation: str | None = None
    target: int = 0


@dataclass(frozen=True)
class Task:
    """A prompt's task; ``record`` is its unchanged entry in the metadata file."""

    tag: str
    prompt: str
    include: tuple[Wanted, ...]
    exclude: tuple[Wanted, ...]
    record: Mapping[str, Any]

    def names(self) -> set[str]:
        """Return the classes that it names."""
        return {wanted.name for wanted in (*self.include, *self.exclude)}


Objects = Mapping[str, Sequence[Found]]
"""By class."""
ReadColours = Callable[[str, Sequence[Found]], Sequence[str]]
"""A class and objects of it -> the colour of each."""


def read_task(record: Any, where: str) -> Task:
    """Return the task of a line of GenEval's metadata.

    Raises:
        UserError: begins with ``where``, and says what is wrong.
    """
    if not isinstance(record, dict) or not all(isinstance(record.get(key), str) for key in ("tag", "prompt")):
        raise UserError(f"{where}: is not a task of GenEval; tag, prompt and include are needed")
    include, exclude = (_group(record.get(key, default), f"{where}: {key}") for key, default in GROUPS.items())
    return Task(record["tag"], record["prompt"], include, exclude, record)


def _group(items: Any, where: str) -> tuple[Wanted, ...]:
    if not isinstance(items, list):
        raise UserError(f"{where} must be a list of objects")
    return tuple(_wanted(item, number, f"{where}[{number}]") for number, item in enumerate(items))


def _wanted(item: Any, number: int, where: str) -> Wanted:
    name, count = (item.get("class"), item.get("count")) if isinstance(item, dict) else (None, None)
    if not isinstance(name, str) or type(count) is not int or count < 1:
        raise UserError(f"{where}: needs class, a text, and count, a whole number from 1")
    colour, position = item.get("color"), item.get("position")
    if colour is not None and colour not in COLOURS:
        raise UserError(f"{where}: color={colour!r}: allowed: {', '.join(COLOURS)}")
    if position is None:
        return Wanted(name, count, colour)
    pair = position if isinstance(position, list) and len(position) == 2 else [None, None]
    if pair[0] not in RELATIONS or type(pair[1]) is not int or not 0 <= pair[1] < number:
        allowed = f"[{' | '.join(RELATIONS)}, the number of an object before it]"
        raise UserError(f"{where}: position={position!r}: {allowed} is needed")
    return Wanted(name, count, colour, *pair)


def counted(found: Objects, tag: str) -> dict[str, list[Found]]:
    """Return the detections that count in a task, by class, the most confident first."""
    least = COUNTING_CONFIDENCE if tag == "counting" else CONFIDENCE
    kept = {
        name: sorted((one for one in objects if one.score > least), key=lambda one: -one.score)[:MOST_OF_A_CLASS]
        for name, objects in found.items()
    }
    return {name: objects for name, objects in kept.items() if objects}


def faults(task: Task, found: Objects, read_colours: ReadColours) -> list[str]:
    """Return what is wrong with a picture, in words; nothing where it is right.

    Args:
        task: of the picture's prompt.
        found: the detections that count, see ``counted``.
        read_colours: called only where there are enough objects of a class with a colour.
    """
    wrong: list[str] = []
    groups: list[Sequence[Found] | None] = []
    for wanted in task.include:
        objects = found.get(wanted.name, ())[: wanted.count]
        fault = _fault(wanted, objects, groups, read_colours)
        groups.append(None if fault else objects)
        wrong += [fault] if fault else []
    for wanted in task.exclude:
        number = len(found.get(wanted.name, ()))
        if number >= wanted.count:
            wrong.append(f"{wanted.name}: {number} instead of fewer than {wanted.count}")
    return wrong


def _fault(
    wanted: Wanted, objects: Sequence[Found], groups: Sequence[Sequence[Found] | None], read_colours: ReadColours
) -> str | None:
    if len(objects) < wanted.count:
        return f"{wanted.name}: {len(objects)} instead of {wanted.count}"
    if wanted.colour is not None:
        colours = list(read_colours(wanted.name, objects))
        if colours.count(wanted.colour) < wanted.count:
            return f"{wanted.name}: {', '.join(colours)} instead of {wanted.count} {wanted.colour}"
    if wanted.relation is None:
        return None
    targets = groups[wanted.target]
    if targets is None:
        return f"{wanted.name}: nothing to be {wanted.relation}"
    for one in objects:
        for target in targets:
            sides = relations(one.box, target.box)
            if wanted.relation not in sides:
                return f"{wanted.name}: {' and '.join(sorted(sides)) or 'in one place'} instead of {wanted.relation}"
    return None


def relations(a: Box, b: Box) -> set[str]:
    """Return where ``a`` is, seen from ``b``: up to two of ``RELATIONS``.

    Along each axis the distance of the centres is shortened by ``CLEARANCE`` times the sum of both sizes, not below 0.
    A side counts where what is left exceeds half of the whole distance of the centres.
    """
    offsets, beyond = [], []
    for low, high in ((0, 2), (1, 3)):
        offset = (a[low] + a[high] - b[low] - b[high]) / 2
        size = abs(a[high] - a[low]) + abs(b[high] - b[low])
        offsets.append(offset)
        beyond.append(math.copysign(max(abs(offset) - CLEARANCE * size, 0.0), offset))
    if all(abs(value) < NOWHERE for value in beyond):
        return set()
    right, down = (value / math.hypot(*offsets) for value in beyond)
    sides = zip(RELATIONS, (-right, right, -down, down), strict=True)
    return {name for name, share in sides if share > 0.5}
