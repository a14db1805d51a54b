"""Make ``results.json`` from the collected results of an evaluation.

The keys of the file are a contract (``schema_version``). Numbers are on the metrics' own scales; papers multiply them
by ``display_scale``. Shares (``winning_rate``, ``ties``) lie in [0, 1]. Intervals are 95 % over prompts, and null where
there is only one prompt. Every comparison uses the same prompts and noise.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npnet.engine.methods import MethodScores, Trace
from npnet.evaluation import diversity
from npnet.evaluation.comparison import compare_methods
from npnet.evaluation.contract import (
    CHECKSUM,
    CostEntry,
    MethodResults,
    MetricFacts,
    Results,
    SpaceFacts,
    TracePointEntry,
)
from npnet.evaluation.gathering import Gathered
from npnet.evaluation.plan import EvaluationPlan
from npnet.metrics import statistics
from npnet.metrics.traits import notes
from npnet.records import Cost
from npnet.work.request import digest

SCHEMA_VERSION = 1
SMOKE_PAIRS = 400
"""With fewer pairs a table is a smoke test: it shows that things run, not which method is better."""
TRACE_POINTS = 40
NOTES = (
    "Intervals are 95 %, by a bootstrap over prompts; with a single prompt, over its pictures.",
    "p_value: two-sided sign-flip test over prompts of the mean paired difference, corrected by Holm across the "
    "metrics of one comparison; sign_test_p_value: exact sign test over decided prompts, uncorrected.",
    "winning_rate is strict: ties do not count as wins. verdict says whether a method is better, by the paired "
    "difference: it is better or worse if the corrected p_value is below 0.05 and the interval of the difference "
    "excludes 0.",
    "optimised: the method searched with this metric, or was trained on pairs that this metric selected, so a gain in "
    "it is not independent evidence. A comparison is marked if this holds for either side.",
    "missing counts the scores that are NaN or infinite. They are left out of every mean.",
    "members: a method of several training seeds is their mean, pair by pair; count is that of the pairs, and two such "
    "methods are compared member by member.",
    "diversity: distance is the mean distance of two pictures of a prompt, vendi the effective number of different "
    "ones, each in the named space, over the prompts whose pictures all have a place in it; share and difference are "
    "against the method named by diversity.against, over the prompts that have a value with both.",
    "noise describes the methods' noise. White noise has correlation 0, and norm and variance 1; norm is divided by "
    "the root of the number of values; low_frequency_share is the power below a sixth of a cycle a cell.",
    "cost is measured and per picture. It includes the sampling, but neither encoding prompts nor this evaluation's "
    "scoring; seconds leave out each worker's first batch if there are others; peak_bytes is what was allocated on "
    "the GPU; on the CPU it is the resident memory of the process, all models included; null means that it is unknown.",
)


def make_results(plan: EvaluationPlan, gathered: Mapping[str, Gathered]) -> Results:
    """Join the results of every method, by its label among ``settings.noise``; see the module's docstring."""
    records = {label: found.record for label, found in gathered.items()}
    prompts = [sample.prompt for sample in plan.samples]
    metrics = metric_facts(plan, gathered)
    methods = _compare(plan, plan.members, records)
    for label, members in plan.members.items():
        method, record = plan.settings.noise[members[0]], merge([records[member] for member in members])
        methods[label]["cost"] = cost_per_image(record)
        methods[label]["null_control"] = method.is_null_control
        trace = join_traces(record.traces, prompts, plan.settings.num_resamples)
        if trace:
            metric = method.scorers[0] if len(method.scorers) == 1 else None
            methods[label]["trace"] = {"metric": metric, "points": trace}
    _add_diversity(methods, plan, gathered, plan.members)
    _add_members(methods, plan, records, gathered)
    used: dict[str, set[str]] = {}
    for name, number in {item for found in gathered.values() for item in found.versions}:
        used.setdefault(name, set()).add(number)
    results: Results = {
        "schema_version": SCHEMA_VERSION,
        "num_pairs": len(prompts),
        "num_prompts": len(set(prompts)),
        "smoke": len(prompts) < SMOKE_PAIRS or any(facts["random_weights"] for facts in metrics.values()),
        "methods": methods,
        "metrics": metrics,
        "diversity": diversity.facts(_spaces(plan), list(plan.members), prompts),
        "settings": plan.asked,
        "device": sorted({device for found in gathered.values() for device in found.devices}),
        "versions": {name: ", ".join(sorted(used[name])) for name in sorted(used)},
        "notes": list(NOTES),
    }
    return plain(results)


def _spaces(plan: EvaluationPlan) -> dict[str, SpaceFacts]:
    return {
        label: {"unit": space.unit, "kernel_width": space.kernel_width, "random_weights": space.is_smoke()}
        for label, space in plan.settings.diversity.items()
    }


def _add_diversity(
    methods: dict[str, MethodResults],
    plan: EvaluationPlan,
    gathered: Mapping[str, Gathered],
    members: Mapping[str, Sequence[str]],
) -> None:
    """Add the diversity of the pictures and the statistics of the noise, for methods with these members."""

    def columns(found: Gathered) -> diversity.Columns:
        return {**found.values, **{space: found.values[digest] for space, digest in plan.spaces.items()}}

    kernels = {label: space.kernel_width for label, space in plan.settings.diversity.items()}
    prompts = [sample.prompt for sample in plan.samples]
    own = {label: [columns(gathered[name]) for name in names] for label, names in members.items()}
    diversity.add_diversity(methods, own, kernels, prompts, plan.settings.num_resamples)


def _compare(
    plan: EvaluationPlan, members: Mapping[str, Sequence[str]], records: Mapping[str, MethodScores]
) -> dict[str, MethodResults]:
    """Compare methods; each is the mean of its members."""
    parts = {label: [records[name] for name in names] for label, names in members.items()}
    optimised = {
        label: [metric for metric in plan.settings.metric if any(metric in plan.optimised[name] for name in names)]
        for label, names in members.items()
    }
    prompts = [sample.prompt for sample in plan.samples]
    return compare_methods(parts, prompts, plan.settings.metric, optimised, plan.settings.num_resamples)


def _add_members(
    methods: dict[str, MethodResults],
    plan: EvaluationPlan,
    records: Mapping[str, MethodScores],
    gathered: Mapping[str, Gathered],
) -> None:
    """Add the results of each training seed, compared with the other methods' networks of the same seed."""
    num_seeds = max(len(members) for members in plan.members.values())
    for number in range(num_seeds if num_seeds > 1 else 0):
        alone = {label: [members[number % len(members)]] for label, members in plan.members.items()}
        found = _compare(plan, alone, records)
        _add_diversity(found, plan, gathered, alone)
        for label, members in plan.members.items():
            if len(members) > 1:
                methods[label].setdefault("members", {})[members[number]] = found[label]


def metric_facts(plan: EvaluationPlan, gathered: Mapping[str, Gathered]) -> dict[str, MetricFacts]:
    """Return facts about each metric; ``zero_or_one``: all its scores are right (1) or wrong (0)."""
    prompts = {sample.prompt for sample in plan.samples}
    facts: dict[str, MetricFacts] = {}
    for name, metric in plan.settings.metric.items():
        noted = [cell for found in gathered.values() for cell in found.noted[name]]
        truncated = prompts & {prompt for cell in noted for prompt in cell.truncated}
        smoke = any(cell.smoke for cell in noted)
        columns = [found.record.scores[name] for found in gathered.values()]
        scores = [score for column in columns for score in column if math.isfinite(score)]
        from_pictures = sum(found.from_pictures[name] for found in gathered.values())
        facts[name] = {
            "display_scale": metric.display_scale,
            "zero_or_one": all(score in (0.0, 1.0) for score in scores),
            "random_weights": smoke,
            "notes": [
                *notes(smoke, truncated, noted[0].text_length),
                *dict.fromkeys(remark for cell in noted for remark in cell.remarks),
                *_from_pictures(from_pictures, columns),
            ],
        }
    return facts


def _from_pictures(number: int, columns: Sequence[Sequence[float]]) -> list[str]:
    of = f"{number} of {sum(map(len, columns))} scores were made from kept pictures, files of 8 bits a colour"
    return [of] if number else []


def merge(parts: Sequence[MethodScores]) -> MethodScores:
    """Join the records of one method, in the order of the samples."""
    peaks = [part.peak_bytes for part in parts if part.peak_bytes is not None]
    return MethodScores(
        scores={name: [score for part in parts for score in part.scores[name]] for name in parts[0].scores},
        cost=sum((part.cost for part in parts), start=Cost()),
        batches=[batch for part in parts for batch in part.batches],
        peak_bytes=max(peaks) if peaks else None,
        traces=[trace for part in parts for trace in part.traces],
    )


def cost_per_image(record: MethodScores) -> CostEntry:
    """Return the ``cost`` of the schema."""
    count = sum(size for size, _ in record.batches)
    return {
        "forwards": record.cost.forwards / count,
        "backwards": record.cost.backwards / count,
        "scorer_calls": record.cost.scorer_calls / count,
        "seconds": sum(duration for _, duration in record.batches) / count,
        "peak_bytes": record.peak_bytes,
        "count": count,
    }


def join_traces(traces: Sequence[Trace], prompts: Sequence[str], num_resamples: int) -> list[TracePointEntry]:
    """Average the searches' best scores at common costs: ``{forwards, mean, interval, count}``, in order of cost.

    A search that has ended keeps its last score. Costs at which some search has no score yet are left out.
    """
    if sum(len(trace.scores[0]) for trace in traces) != len(prompts):
        return []
    costs = sorted({cost for trace in traces for cost in trace.forwards})
    costs = [cost for cost in costs if cost >= max(trace.forwards[0] for trace in traces)]
    costs = [costs[round(i)] for i in np.linspace(0, len(costs) - 1, min(TRACE_POINTS, len(costs)))]
    rows = []
    for cost in costs:
        last = [bisect_right(trace.forwards, cost) - 1 for trace in traces]
        rows.append([score for trace, i in zip(traces, last, strict=True) for score in trace.scores[i]])
    return [
        {"forwards": cost, "mean": point.mean, "interval": list(point.interval), "count": point.count}
        for cost, point in zip(costs, statistics.means(rows, prompts, num_resamples), strict=True)
    ]


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: floats to 10 digits, NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        # the last digits depend on the order in which a library adds
        return float(f"{value:.10g}") if math.isfinite(value) else None
    return value


def to_json(results: Mapping[str, Any], samples: bytes) -> bytes:
    """Return the bytes of ``results.json``; methods and metrics keep their configured order.

    Args:
        results: its content.
        samples: the file of single pictures beside it, whose SHA-256 it carries too.
    """
    results = {**results, "samples_sha256": hashlib.sha256(samples).hexdigest()}
    results[CHECKSUM] = digest(results)
    return (json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
