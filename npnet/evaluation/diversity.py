"""The diversity of each method's pictures of a prompt, and statistics of its noise.

They are computed from the cells, which hold the features of each picture and a few measures of each noise. A prompt has
a value where all its pictures have features. Two methods are compared over the prompts that have a value with both, so
that a method gains nothing from prompts that another one draws wrong. With several training seeds, each prompt has one
value for each network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from npnet.evaluation.cells import Value
from npnet.evaluation.contract import Average, Diversity, MethodResults, SpaceFacts, Spread
from npnet.metrics import statistics
from npnet.metrics.diversity import by_prompt, from_text, mean_pairwise_distance, similarity, vendi_score
from npnet.metrics.resampling import Floats
from npnet.noise.runtime.whiteness import MEASURES

Columns = Mapping[str, Sequence[Value]]
"""Measure, or space -> N values of the samples."""
ONE_SEED = "one seed per prompt"
NO_SPACE = "no space was chosen (diversity=[])"


def add_diversity(
    methods: Mapping[str, MethodResults],
    columns: Mapping[str, Sequence[Columns]],
    kernels: Mapping[str, float | None],
    prompts: Sequence[str],
    num_resamples: int = statistics.NUM_RESAMPLES,
) -> None:
    """Add ``diversity`` in each space and ``noise`` to the results of each method.

    Args:
        methods: by label; gets the entries.
        columns: method label -> the content of its cells, one for each training seed.
        kernels: space -> see ``FeatureSpace.kernel_width``.
        prompts: the N samples' prompts.
        num_resamples: for the intervals.
    """
    for label, averages in _noise(columns, prompts, num_resamples).items():
        methods[label]["noise"] = averages
    places = by_prompt(prompts)
    if not places or not kernels:
        return
    most = max(map(len, columns.values()))
    table = np.stack(
        [
            np.broadcast_to(
                np.stack(
                    [[of_prompts(own[space], places, width) for space, width in kernels.items()] for own in members]
                ),
                (most, len(kernels), 2, len(places)),
            )
            for members in columns.values()
        ]
    )
    rows = table.transpose(0, 2, 3, 1, 4)  # methods, spaces, measures, networks, prompts
    against = np.broadcast_to(rows[list(columns).index(reference(list(columns)))], rows.shape)
    spreads = iter(
        _spreads(rows.reshape(-1, *rows.shape[3:]), against.reshape(-1, *rows.shape[3:]), list(places), num_resamples)
    )
    for label in columns:
        methods[label]["diversity"] = {space: {"distance": next(spreads), "vendi": next(spreads)} for space in kernels}


def reference(labels: Sequence[str]) -> str:
    """Return the method with which the diversity of the others is compared: standard noise, or else the first."""
    return "standard" if "standard" in labels else labels[0]


def facts(
    spaces: Mapping[str, SpaceFacts], labels: Sequence[str], prompts: Sequence[str], without: str = NO_SPACE
) -> Diversity:
    """Return the facts about diversity; ``without`` says why there is no space."""
    numbers = sorted({len(own) for own in by_prompt(prompts).values()})
    absent = ONE_SEED if not numbers else None if spaces else without
    return {
        "spaces": {} if absent else dict(spaces),
        "against": reference(labels),
        "num_pictures": [numbers[0], numbers[-1]] if numbers else [1, 1],
        "num_prompts": len(by_prompt(prompts)),
        "absent": absent,
    }


def of_prompts(texts: Sequence[Value], places: Mapping[str, Sequence[int]], width: float | None) -> Floats:
    """Return mean pairwise distance and Vendi score of each prompt, ``(2, P)``; NaN where a picture has no features."""
    found = []
    for own in places.values():
        rows = [from_text(str(texts[place] or "")) for place in own]
        known = [row for row in rows if row is not None]
        if len(known) < len(rows):
            found.append((math.nan, math.nan))
            continue
        features = torch.stack(known)
        found.append((mean_pairwise_distance(features), vendi_score(similarity(features, width))))
    return np.array(found).T


def _spreads(own: Floats, others: Floats, prompts: Sequence[str], num_resamples: int) -> list[Spread]:
    """Return the comparison of M rows of values with M others, both ``(M, networks, P)``."""
    known = np.isfinite(own).any(axis=1).sum(axis=1)
    shared = (np.isfinite(own) & np.isfinite(others)).any(axis=1).sum(axis=1)
    clusters = [*prompts] * own.shape[1]
    own, others = (side.reshape(len(side), -1) for side in (own, others))
    return [
        {
            "mean": mean.mean,
            "interval": list(mean.interval),
            "count": int(count),
            "missing": len(prompts) - int(count),
            "difference": against.mean_difference,
            "difference_interval": list(against.difference_interval),
            "share": share,
            "share_interval": list(ends),
            "shared_prompts": int(both),
        }
        for mean, against, (share, ends), count, both in zip(
            statistics.means(own, clusters, num_resamples),
            statistics.compare(own, others, clusters, num_resamples),
            statistics.ratios(own, others, clusters, num_resamples),
            known,
            shared,
            strict=True,
        )
    ]


def _noise(
    columns: Mapping[str, Sequence[Columns]], prompts: Sequence[str], num_resamples: int
) -> dict[str, dict[str, Average]]:
    """Return the mean of each noise measure of each method; older cells have none, which counts as missing."""
    most = max(map(len, columns.values()))
    rows = [
        np.broadcast_to(
            [[math.nan if v is None else float(v) for v in own[name]] for own in members], (most, len(prompts))
        )
        for members in columns.values()
        for name in MEASURES
    ]
    means = iter(statistics.means(np.stack(rows), prompts, num_resamples))
    return {label: {name: _average(next(means)) for name in MEASURES} for label in columns}


def _average(mean: statistics.Mean) -> Average:
    return {"mean": mean.mean, "interval": list(mean.interval), "count": mean.count, "missing": mean.missing}
