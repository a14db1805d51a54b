"""Find what an evaluation still has to compute: which methods, on which samples, by which metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from npnet.data.prompts import Sample
from npnet.evaluation.plan import Wanted
from npnet.evaluation.store import Store
from npnet.text import count


@dataclass(frozen=True)
class Work:
    """Methods that lack the same results on the same samples.

    Attributes:
        labels: of the methods, each digest once.
        metrics: labels of those whose scores are missing.
        spaces: labels of those whose features are missing.
        samples: in order.
        draws: whether pictures are made; otherwise kept ones are scored.
    """

    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    spaces: tuple[str, ...]
    samples: tuple[Sample, ...]
    draws: bool


Needs = tuple[tuple[str, ...], tuple[str, ...], bool]
"""Metrics and spaces that a sample lacks, and whether its picture is made."""


def lacking(store: Store, wanted: Wanted, samples: Sequence[Sample]) -> list[Work]:
    """Return what the store lacks of ``samples``, in as few pieces as possible."""
    groups: dict[tuple[tuple[Sample, ...], Needs], list[str]] = defaultdict(list)
    for method, label in {digest: label for label, digest in reversed(wanted.methods.items())}.items():
        needs: dict[Needs, list[Sample]] = defaultdict(list)
        for sample in samples:
            lacks = _of_sample(store, wanted, method, sample)
            if lacks is not None:
                needs[lacks].append(sample)
        for lacks, found in needs.items():
            groups[tuple(found), lacks].append(label)
    order = list(wanted.methods)
    return [
        Work(tuple(sorted(labels, key=order.index)), metrics, spaces, found, draws)
        for (found, (metrics, spaces, draws)), labels in groups.items()
    ]


def _of_sample(store: Store, wanted: Wanted, method: str, sample: Sample) -> Needs | None:
    """Return what a sample lacks; None where it lacks nothing."""
    key = sample.prompt, sample.seed
    metrics = tuple(label for label, digest in wanted.metrics.items() if store.score(method, digest, key) is None)
    spaces = tuple(label for label, digest in wanted.spaces.items() if store.value(method, digest, key) is None)
    missed = metrics or (spaces if sample.prompt in wanted.repeated else ())
    if store.drawn(method, key) is None or (sample.key in wanted.kept and not store.has_picture(method, key)):
        return metrics, spaces, True
    if not missed:
        return None
    return metrics, spaces, not (wanted.from_pictures and store.has_picture(method, key))


def to_draw(works: Sequence[Work], wanted: Wanted) -> dict[str, int]:
    """Return how many pictures of each method are still made: label -> number. What stands twice draws once."""
    numbers = dict.fromkeys(wanted.methods, 0)
    for work in works:
        for label in work.labels if work.draws else ():
            numbers[label] += len(work.samples)
    return numbers


def describe(works: Sequence[Work], store: Store, wanted: Wanted, total: int) -> str:
    """Return a dry run's lines about a folder with results: what it holds of ``total`` samples, and what it lacks."""
    lines = []
    for label, digest in wanted.methods.items():
        own = [work for work in works if digest in {wanted.methods[name] for name in work.labels}]
        drawn = sum(len(work.samples) for work in own if work.draws)
        scored = sum(len(work.samples) for work in own if not work.draws)
        parts = [f"{total - drawn - scored} of {count(total, 'pair')} there"]
        parts += [f"{drawn} to be made"] if drawn else []
        parts += [f"{scored} kept pictures to be scored"] if scored else []
        for name in (*wanted.metrics, *wanted.spaces):
            again = [work for work in own if work.draws and name in (*work.metrics, *work.spaces)]
            again_for = sum(
                store.drawn(digest, (sample.prompt, sample.seed)) is not None
                for work in again
                for sample in work.samples
            )
            parts += [f"{again_for} of them again for {name}"] if again_for else []
        lines.append(f"  {label}: {', '.join(parts)}")
    return "\n".join(["already computed:", *lines])
