"""The words of results, the same on the terminal and in the report, and the rows of the tables as texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from npnet.evaluation import training_seeds
from npnet.evaluation.contract import Results, Versus
from npnet.report.formats import NONE, number, p_text, seconds_text, with_interval
from npnet.text import count, decimals

DAGGER = "†"
MARKED = (
    f"{DAGGER} optimised: the method searched with this metric or was trained with it, so a gain in it proves little"
)
"""Follows a number whose metric was used to select or optimise."""
NULL_CONTROL = "control: distributed like a fresh draw, so its difference from standard is chance"
PAPER_PAIRS = 100
"""The fewest pairs of a published table; with fewer, things are shown to run and no more."""
VERDICTS = {"better": "better", "worse": "worse", "undecided": "no clear difference"}


@dataclass(frozen=True)
class ComparisonRow:
    """One method against another on one metric, as texts.

    ``metric`` carries the ``mark`` of an optimised one; ``verdict`` is the key of ``VERDICTS``.
    """

    method: str
    other: str
    metric: str
    mark: str
    gain: str
    winning_rate: str
    ties: str
    p_value: str
    verdict: str
    preference: str


@dataclass(frozen=True)
class ScoreRow:
    """One method's mean scores, in the order of the metrics, its gains on standard, and what a picture cost."""

    method: str
    scores: tuple[str, ...]
    gains: tuple[float | None, ...]
    forwards: str
    backwards: str
    scorer_calls: str
    seconds: str
    peak: str


def banner(results: Results) -> str | None:
    """Return the note above tables too small to tell methods apart, or on what such a number can show."""
    if not results["smoke"]:
        return None
    pairs, prompts = results["num_pairs"], results["num_prompts"]
    random = [name for name, facts in results["metrics"].items() if facts["random_weights"]]
    if not random and pairs >= PAPER_PAIRS:
        points = 98 / math.sqrt(prompts)  # half a 95 % interval of a share of one half
        return (
            f"{pairs} pairs, as in the papers' tables ({PAPER_PAIRS} or 200): a winning rate near one half is known to "
            f"about {points:.0f} points on either side, so only larger differences can be seen."
        )
    reasons = [f"only {count(pairs, 'pair')}, fewer than {PAPER_PAIRS}"] if pairs < PAPER_PAIRS else []
    reasons += [f"random weights in {', '.join(random)}"] if random else []
    return f"SMOKE: {'; '.join(reasons)}. This shows that everything runs, not which method is better."


def headline(results: Results) -> str:
    """Return the size of the comparison, and how the pictures were made."""
    settings = results["settings"]
    return (
        f"{count(results['num_pairs'], 'pair')} ({count(results['num_prompts'], 'prompt')}), "
        f"{settings['num_inference_steps']} steps, guidance {settings['guidance_scale']:g}, "
        f"sampler {settings['sampler']}"
    )


def score_rows(results: Results) -> list[ScoreRow]:
    """Return every method's row, in the order of the request."""
    rows = []
    for label, method in results["methods"].items():
        cost = method["cost"]
        peak = cost["peak_bytes"]
        rows.append(
            ScoreRow(
                method=shown(results, label),
                scores=tuple(score_text(results, label, name) for name in results["metrics"]),
                gains=tuple(
                    method["versus_standard"][name]["mean_difference"] if "versus_standard" in method else 0.0
                    for name in results["metrics"]
                ),
                forwards=f"{cost['forwards']:.4g}",
                backwards=f"{cost['backwards']:.4g}",
                scorer_calls=f"{cost['scorer_calls']:.4g}",
                seconds=seconds_text(cost["seconds"]),
                peak=NONE if peak is None else f"{peak / 2**30:.3g} GiB",
            )
        )
    return rows


def shown(results: Results, label: str) -> str:
    """Write a method's label, with a note that a reader needs: ``semantic_erasure (null control)``."""
    method = results["methods"][label]
    remarks = ["null control"] if method.get("null_control") else []
    remarks += [f"{len(method['members'])} training seeds"] if "members" in method else []
    return f"{label} ({', '.join(remarks)})" if remarks else label


def first_member(results: Results, label: str) -> str:
    """Return whose pictures represent a method: its own, or those of the first training seed."""
    return next(iter(results["methods"][label].get("members", [label])))


def method_notes(results: Results) -> list[str]:
    """Return the meaning of the marks in the tables, if there are any."""
    methods = results["methods"].values()
    marked = any(entry["optimised"] for method in methods for entry in method["metrics"].values())
    null, seeds = (any(method.get(key) for method in methods) for key in ("null_control", "members"))
    return [note for note, holds in ((MARKED, marked), (NULL_CONTROL, null), (training_seeds.NOTE, seeds)) if holds]


def score_text(results: Results, label: str, name: str) -> str:
    """Write a mean with its interval, as papers print it: ``93.31 [92.9, 93.7]†``."""
    entry = results["methods"][label]["metrics"][name]
    scale, decimals = entry["display_scale"], metric_decimals(results, name)
    text = with_interval(entry["mean"], entry["interval"], scale, decimals)
    missing = f" ({entry['missing']} missing)" if entry["missing"] else ""
    return text + (DAGGER if entry["optimised"] else "") + missing


def comparison_rows(results: Results, pairs: Sequence[tuple[str, str]]) -> list[ComparisonRow]:
    """Return the rows of ``(method, other)`` pairs, every metric of a pair together."""
    rows = []
    for label, other in pairs:
        for name, entry in results["methods"][label]["versus"][other].items():
            mark = DAGGER if entry["optimised"] else ""
            rows.append(
                ComparisonRow(
                    method=shown(results, label),
                    other=shown(results, other),
                    metric=name + mark,
                    mark=mark,
                    gain=gain_text(results, name, entry),
                    winning_rate=with_interval(entry["winning_rate"], entry["interval"], 100, 1) + " %",
                    ties=number(entry["ties"], 100, 1) + " %",
                    p_value=p_text(entry["p_value"]),
                    verdict=entry["verdict"],
                    preference=_preference(entry),
                )
            )
    return rows


def gain_text(results: Results, name: str, entry: Versus) -> str:
    """Write how much better one method is than another on the metric ``name``, with its interval."""
    scale, digits = results["metrics"][name]["display_scale"], metric_decimals(results, name)
    return with_interval(entry["mean_difference"], entry["difference_interval"], scale, digits, signed=True)


def _preference(entry: Versus) -> str:
    preference = entry.get("preference")
    return NONE if preference is None else with_interval(preference["mean"], preference["interval"], 100, 1) + " %"


def metric_heading(results: Results, name: str) -> str:
    """Write a metric's name with the unit of its numbers: ``shapes_judge, % right``, ``hpsv2, ×100``."""
    facts = results["metrics"][name]
    scale = facts["display_scale"]
    unit = ", % right" if facts["zero_or_one"] else f", x {scale:g}" if scale != 1 else ""
    return name + unit


def metric_notes(results: Results) -> list[str]:
    """Return ``METRIC: note`` for each metric with something that a reader might not expect."""
    return [f"{name}: {note}" for name, facts in results["metrics"].items() for note in facts["notes"]]


def pairs_versus_standard(results: Results) -> list[tuple[str, str]]:
    """Return every other method against standard; none where standard was not asked for."""
    methods = results["methods"]
    return [(label, "standard") for label in methods if label != "standard"] if "standard" in methods else []


def pairs_among_others(results: Results) -> list[tuple[str, str]]:
    """Return each two methods other than standard once, the later one against the earlier."""
    labels = [label for label in results["methods"] if label != "standard"]
    return [(later, earlier) for i, later in enumerate(labels) for earlier in labels[:i]]


def metric_decimals(results: Results, name: str) -> int:
    """Return the decimals that show a metric's uncertainty with two digits, the same for all its numbers."""
    scale = results["metrics"][name]["display_scale"]
    widths = []
    for method in results["methods"].values():
        intervals = [method["metrics"][name]["interval"]]
        intervals += [other[name]["difference_interval"] for other in method["versus"].values()]
        widths += [scale * (high - low) for low, high in intervals if low is not None and high is not None]
    return decimals(widths)


def in_short(results: Results) -> list[str]:
    """Return one sentence for each method on how it fared against standard."""
    sentences = []
    for label, other in pairs_versus_standard(results):
        rows = comparison_rows(results, [(label, other)])
        parts = []
        for verdict, words in (("better", "better on"), ("worse", "worse on"), ("undecided", "no clear difference on")):
            found = [f"{row.metric} ({row.gain})" for row in rows if row.verdict == verdict]
            if found:
                parts.append(f"{words} {', '.join(found)}")
        costs = [results["methods"][name]["cost"]["forwards"] for name in (label, other)]
        ratio = f", at {costs[0] / costs[1]:.2f} times the denoiser forwards" if costs[1] else ""
        sentences.append(f"{shown(results, label)}: {'; '.join(parts)}{ratio}.")
    return sentences
