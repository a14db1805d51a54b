"""Compare methods on the same samples: means, paired differences and winning rates, as plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import permutations

import numpy as np
import torch
from numpy.typing import NDArray

from npnet.engine.methods import MethodScores
from npnet.evaluation.contract import Entry, MethodResults, Versus
from npnet.metrics import Metric, statistics

SIGNIFICANCE = 0.05


def compare_methods(
    records: Mapping[str, Sequence[MethodScores]],
    prompts: Sequence[str],
    metrics: Mapping[str, Metric],
    optimised: Mapping[str, Sequence[str]],
    num_resamples: int = statistics.NUM_RESAMPLES,
) -> dict[str, MethodResults]:
    """Return the schema's ``{label: {"metrics", "versus_standard", "versus"}}``; the middle one needs standard.

    Args:
        records: N scores of each metric, by method label: one record, or one of each training seed, see
            ``training_seeds``; as many for every method that has several.
        prompts: the N samples' prompts.
        metrics: by label, loaded or not; every record has their scores.
        optimised: method label -> metric labels.
        num_resamples: for the intervals.
    """
    names, labels = list(metrics), list(records)
    table = _table(records, names)
    averages = iter(statistics.means(table.reshape(-1, *table.shape[2:]), prompts, num_resamples))
    methods: dict[str, MethodResults] = {}
    for label in labels:
        entries: dict[str, Entry] = {}
        for name in names:
            average = next(averages)
            entries[name] = {
                "mean": average.mean,
                "interval": list(average.interval),
                "count": average.count,
                "missing": average.missing,
                "display_scale": metrics[name].display_scale,
                "optimised": name in optimised.get(label, ()),
            }
        methods[label] = {"metrics": entries, "versus": {}}
    pairs = list(permutations(range(len(labels)), 2))
    if pairs:  # all at once: the resampled prompts are drawn a single time
        rows, others = (table[list(side)].reshape(-1, *table.shape[2:]) for side in zip(*pairs, strict=True))
        comparisons = statistics.compare(rows, others, prompts, num_resamples)
        for number, (one, other) in enumerate(pairs):
            family = comparisons[number * len(names) : (number + 1) * len(names)]
            methods[labels[one]]["versus"][labels[other]] = _family(
                names, family, {*optimised.get(labels[one], ()), *optimised.get(labels[other], ())}
            )
        _add_preferences(methods, table, prompts, metrics, num_resamples)
    for label in labels:
        if label != "standard" and "standard" in labels:
            methods[label]["versus_standard"] = methods[label]["versus"]["standard"]
    return methods


def _table(records: Mapping[str, Sequence[MethodScores]], names: Sequence[str]) -> NDArray[np.float64]:
    """Return all scores, ``(methods, metrics, training seeds, N)``; a method with one training seed is repeated."""
    parts = [np.array([[part.scores[name] for part in own] for name in names]) for own in records.values()]
    most = max(part.shape[1] for part in parts)
    return np.stack([np.broadcast_to(part, (len(names), most, part.shape[2])) for part in parts])


def _family(
    names: Sequence[str], comparisons: Sequence[statistics.Comparison], optimised: Collection[str]
) -> dict[str, Versus]:
    """Compare one method with another on every metric, with p-values corrected for several metrics."""
    corrected = statistics.holm([comparison.p_value for comparison in comparisons])
    family: dict[str, Versus] = {}
    for name, comparison, p_value in zip(names, comparisons, corrected, strict=True):
        low, high = comparison.difference_interval
        decided = p_value < SIGNIFICANCE
        family[name] = {
            "count": comparison.count,
            "num_prompts": comparison.num_prompts,
            "missing": comparison.missing,
            "wins": comparison.wins,
            "losses": comparison.losses,
            "winning_rate": comparison.winning_rate,
            "ties": comparison.ties,
            "interval": list(comparison.interval),
            "mean_difference": comparison.mean_difference,
            "difference_interval": [low, high],
            "p_value": float(p_value),
            "sign_test_p_value": comparison.sign_test_p_value,
            "optimised": name in optimised,
            "verdict": "better" if decided and low > 0 else "worse" if decided and high < 0 else "undecided",
        }
    return family


def _add_preferences(
    methods: dict[str, MethodResults],
    table: NDArray[np.float64],
    prompts: Sequence[str],
    metrics: Mapping[str, Metric],
    num_resamples: int,
) -> None:
    """Add ``preference``, the mean probability that the method is preferred, where papers print that (MPS)."""
    places = {label: number for number, label in enumerate(methods)}
    for column, (name, metric) in enumerate(metrics.items()):
        if not metric.pairwise:
            continue
        pairs = [(label, other) for label, method in methods.items() for other in method["versus"]]
        preferred = [
            metric.preference(*(torch.tensor(table[places[side], column].ravel()) for side in (other, label)))
            for label, other in pairs
        ]
        # all at once: the resampled prompts are drawn a single time
        rows = np.stack([row.numpy().reshape(-1, len(prompts)) for row in preferred])
        for (label, other), average in zip(pairs, statistics.means(rows, prompts, num_resamples), strict=True):
            entry = methods[label]["versus"][other][name]
            entry["preference"] = {"mean": average.mean, "interval": list(average.interval)}
