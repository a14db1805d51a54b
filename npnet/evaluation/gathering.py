"""Collect the cells of an evaluation in the order of its samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from npnet.data.prompts import Sample
from npnet.engine.methods import MethodScores, Trace
from npnet.evaluation.cells import Cell, Drawn, Noted, Value
from npnet.evaluation.store import Store
from npnet.records import Cost


@dataclass(frozen=True)
class Gathered:
    """The results of one method on all N samples.

    Attributes:
        record: scores in the order of the samples; its traces are of one sample each.
        costs: N costs; samples that were computed together have their mean.
        seconds: N durations, likewise.
        devices: that computed.
        versions: of what the numbers depend on, each by name.
        noted: metric label -> the notes of its cells.
        from_pictures: metric label -> the number of scores from kept 8-bit pictures.
        values: measure -> N values.
    """

    record: MethodScores
    costs: list[tuple[float, float, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    devices: frozenset[str] = frozenset()
    versions: frozenset[tuple[str, str]] = frozenset()
    noted: dict[str, list[Noted]] = field(default_factory=dict)
    from_pictures: dict[str, int] = field(default_factory=dict)
    values: dict[str, list[Value]] = field(default_factory=dict)


def gather(
    store: Store, method: str, metrics: Mapping[str, str], samples: Sequence[Sample], measures: Sequence[str] = ()
) -> Gathered:
    """Return the results of a method, given by its digest, on all samples.

    Args:
        store: the cells.
        method: its digest.
        metrics: label -> digest.
        samples: in order.
        measures: see ``Cell.values``; missing values are None.

    Raises:
        ValueError: a result is missing.
    """
    keys = [(sample.prompt, sample.seed) for sample in samples]
    drawn = [store.drawn(method, key) for key in keys]
    scored = {name: [store.score(method, digest, key) for key in keys] for name, digest in metrics.items()}
    places = [place for place in drawn if place is not None]
    found = {name: [place for place in column if place is not None] for name, column in scored.items()}
    if any(len(column) < len(keys) for column in (places, *found.values())):
        raise ValueError("cells are missing")
    cells = _distinct([cell for _, cell, _ in places])
    makings = [(cell, cell.drawn) for cell in cells if cell.drawn is not None]
    each = {id(cell): _each(cell, making) for cell, making in makings}
    own_costs = [each[id(cell)] for _, cell, _ in places]
    traces = {id(cell): _traces(cell, making) for cell, making in makings}
    own_traces = [traces[id(cell)][index] for _, cell, index in places]
    peaks = [making.peak_bytes for _, making in makings if making.peak_bytes is not None]
    seconds = seconds_per_image([making for _, making in makings])
    totals = [math.fsum(column) for column in zip(*own_costs, strict=True)]
    record = MethodScores(
        scores={
            name: [cell.scores[metrics[name]][index] for _, cell, index in column] for name, column in found.items()
        },
        cost=Cost(*totals),  # type: ignore[arg-type]
        batches=[(len(keys), seconds * len(keys))],
        peak_bytes=max(peaks) if peaks else None,
        traces=[trace for trace in own_traces if trace is not None],
    )
    scorings = {name: _distinct([cell for _, cell, _ in column]) for name, column in found.items()}
    used = _distinct([*cells, *(cell for column in scorings.values() for cell in column)])
    alone = {id(cell): seconds_per_image([making]) for cell, making in makings}
    return Gathered(
        record,
        costs=own_costs,
        seconds=[alone[id(cell)] for _, cell, _ in places],
        devices=frozenset(making.device for _, making in makings),
        versions=frozenset(item for cell in used for item in cell.versions.items()),
        noted={name: [cell.metrics[metrics[name]] for cell in column] for name, column in scorings.items()},
        from_pictures={name: sum(cell.drawn is None for _, cell, _ in column) for name, column in found.items()},
        values={measure: [store.value(method, measure, key) for key in keys] for measure in measures},
    )


def seconds_per_image(makings: Sequence[Drawn]) -> float:
    """Return the mean seconds of a picture; a worker's first batch is left out where there are others."""
    batches = [
        (size, seconds, making.first and position == 0)
        for making in makings
        for position, (size, seconds) in enumerate(making.batches)
    ]
    timed = [batch for batch in batches if not batch[2]] or batches
    return sum(seconds for _, seconds, _ in timed) / sum(size for size, _, _ in timed)


def _each(cell: Cell, making: Drawn) -> tuple[float, float, float]:
    """Return the passes of one sample of a cell."""
    cost, size = making.cost, len(cell.samples)
    return cost.forwards / size, cost.backwards / size, cost.scorer_calls / size


def _traces(cell: Cell, making: Drawn) -> list[Trace | None]:
    """Return each sample's own trace, from those of its batches."""
    own: list[Trace | None] = [
        Trace(trace.forwards, [[row[column]] for row in trace.scores])
        for trace in making.traces
        for column in range(len(trace.scores[0]))
    ]
    return own if len(own) == len(cell.samples) else [None] * len(cell.samples)


def _distinct(cells: Sequence[Cell]) -> list[Cell]:
    return list({id(cell): cell for cell in cells}.values())
