"""``samples.jsonl``: the results of every picture, with one line for each method of each sample."""

from __future__ import annotations

import json
from collections.abc import Mapping

from npnet.evaluation.cells import finite
from npnet.evaluation.gathering import Gathered
from npnet.evaluation.plan import EvaluationPlan
from npnet.noise.runtime.whiteness import MEASURES


def to_lines(plan: EvaluationPlan, gathered: Mapping[str, Gathered]) -> bytes:
    """Return the bytes of the file, sample by sample, each method in order.

    ``scores`` are on the metrics' own scales, null where one is missing. ``cost`` is the cost of one picture; samples
    that were computed together have their mean. ``network`` names the training seed, where there are several. ``noise``
    has statistics of the noise, null where an earlier version drew the picture.
    """
    rows = [(method, label) for method, labels in plan.members.items() for label in labels]
    lines = []
    for index, sample in enumerate(plan.samples):
        for method, label in rows:
            found = gathered[label]
            forwards, backwards, scorer_calls = found.costs[index]
            line = {
                "prompt": sample.prompt,
                "seed": sample.seed,
                "method": method,
                **({"network": label} if label != method else {}),
                "scores": {name: scores[index] for name, scores in found.record.scores.items()},
                "cost": {
                    "forwards": forwards,
                    "backwards": backwards,
                    "scorer_calls": scorer_calls,
                    "seconds": found.seconds[index],
                },
                "noise": {name: found.values[name][index] for name in MEASURES},
            }
            lines.append(json.dumps(finite(line), ensure_ascii=False))
    return ("\n".join(lines) + "\n").encode()
