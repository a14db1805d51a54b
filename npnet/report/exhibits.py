"""The pictures in the report: the same prompt and noise side by side, chosen by a fixed rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from npnet.data.prompts import Sample
from npnet.drawing.webp import data_uri
from npnet.engine.methods import MethodScores
from npnet.evaluation.cells import picture_path
from npnet.evaluation.contract import Results
from npnet.report.formats import number
from npnet.report.wording import DAGGER, first_member, metric_decimals

EXTREMES = 6
"""Pictures of the largest gains, and as many of the largest losses."""


@dataclass(frozen=True)
class Score:
    """A picture's score on one metric, as text; ``right`` only for metrics that answer right or wrong."""

    metric: str
    text: str
    right: bool | None = None


@dataclass(frozen=True)
class View:
    """One method's picture: ``uri`` holds it whole."""

    method: str
    uri: str
    scores: tuple[Score, ...]
    pixelated: bool


@dataclass(frozen=True)
class Exhibit:
    """Pictures of one prompt and seed.

    ``remark`` says why it is shown, if not by order; ``gains`` are those of ``gain_names``.
    """

    prompt: str
    seed: int
    views: tuple[View, ...]
    remark: str = ""
    gains: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Strip:
    """The largest gains and losses of one method against standard, as many of each."""

    method: str
    metric: str
    gains: list[Exhibit] = field(default_factory=list)
    losses: list[Exhibit] = field(default_factory=list)


def first_exhibits(
    samples: Sequence[Sample], records: Mapping[str, MethodScores], results: Results, output_dir: Path, count: int
) -> list[Exhibit]:
    """Return every method's pictures of the first sample of each of the first ``count`` prompts.

    With fewer prompts, the first of the other samples fill the remaining places.
    """
    seen: dict[str, int] = {}
    for index, sample in enumerate(samples):
        seen.setdefault(sample.prompt, index)
    chosen = list(seen.values())[:count]
    chosen += [index for index in range(len(samples)) if index not in set(chosen)][: count - len(chosen)]
    return [make_exhibit(samples, records, results, output_dir, index, list(records)) for index in sorted(chosen)]


def strips(
    samples: Sequence[Sample], records: Mapping[str, MethodScores], results: Results, output_dir: Path
) -> list[Strip]:
    """Return, for each method, the samples with the largest gains and losses against standard.

    The metric is one that the method does not optimise, if there is one, and among these the first that does not only
    say right or wrong. Each prompt is shown once on each side. With few prompts they repeat, and with few samples each
    side shows half of them.
    """
    if "standard" not in records or not samples:
        return []
    found = []
    for label, record in records.items():
        if label == "standard":
            continue
        metric = min(results["metrics"], key=lambda name: _rank(results, label, name))
        baseline, scale = records["standard"].scores[metric], results["metrics"][metric]["display_scale"]
        differences = {i: record.scores[metric][i] - baseline[i] for i in range(len(samples))}
        order = sorted((i for i, d in differences.items() if math.isfinite(d)), key=lambda i: (-differences[i], i))
        optimised = results["methods"][label]["metrics"][metric]["optimised"]
        strip = Strip(label, metric + (DAGGER if optimised else ""))
        for ranked, shown in ((order, strip.gains), (order[::-1], strip.losses)):
            for index in _leading(ranked, samples):
                gain = number(differences[index], scale, metric_decimals(results, metric), signed=True)
                remark = f"{strip.metric} {gain}"
                shown.append(make_exhibit(samples, records, results, output_dir, index, ["standard", label], remark))
        found.append(strip)
    return found


def _rank(results: Results, label: str, name: str) -> tuple[bool, bool]:
    optimised = results["methods"][label]["metrics"][name]["optimised"]
    return optimised, results["metrics"][name]["zero_or_one"]


def gain_names(records: Mapping[str, MethodScores]) -> list[str]:
    """Return ``METRIC by METHOD`` of every gain on standard."""
    labels = [label for label in records if label != "standard"] if "standard" in records else []
    return [f"{name} by {label}" for label in labels for name in records[label].scores]


def _gains(records: Mapping[str, MethodScores], index: int) -> tuple[float | None, ...]:
    """Return the gains of a sample on standard, in the order of ``gain_names``; None where a score is missing."""
    if "standard" not in records:
        return ()
    others = {label: record for label, record in records.items() if label != "standard"}
    found = [
        scores[index] - records["standard"].scores[name][index]
        for record in others.values()
        for name, scores in record.scores.items()
    ]
    return tuple(gain if math.isfinite(gain) else None for gain in found)


def _leading(ranked: Sequence[int], samples: Sequence[Sample]) -> list[int]:
    """Return the first ``EXTREMES`` samples of a ranking, one for each prompt where there are prompts enough."""
    if len({samples[index].prompt for index in ranked}) < 2 * EXTREMES:
        return list(ranked[: min(EXTREMES, len(ranked) // 2)])
    best: dict[str, int] = {}
    for index in ranked:
        best.setdefault(samples[index].prompt, index)
    return list(best.values())[:EXTREMES]


def make_exhibit(
    samples: Sequence[Sample],
    records: Mapping[str, MethodScores],
    results: Results,
    output_dir: Path,
    index: int,
    labels: Sequence[str],
    remark: str = "",
) -> Exhibit:
    """Return the pictures of sample ``index`` by the methods ``labels``, each with its scores."""
    sample = samples[index]
    views = []
    for label in labels:
        uri, pixelated = data_uri(picture_path(output_dir, first_member(results, label), sample).read_bytes())
        scores = tuple(_score(results, name, values[index]) for name, values in records[label].scores.items())
        views.append(View(label, uri, scores, pixelated))
    return Exhibit(sample.prompt, sample.seed, tuple(views), remark, _gains(records, index))


def _score(results: Results, name: str, value: float) -> Score:
    facts = results["metrics"][name]
    if not math.isfinite(value):
        return Score(name, "missing")
    if facts["zero_or_one"]:
        return Score(name, "right" if value else "wrong", right=bool(value))
    return Score(name, number(value, facts["display_scale"], metric_decimals(results, name)))
