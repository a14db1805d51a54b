"""Figure 3 of Semantic Erasure-Injection: does a noise that fits the prompt by itself give better pictures of it?

It needs two evaluations of the same prompts and seeds. In the first, the pictures are drawn from the empty prompt but
scored against each prompt, which shows how well each noise fits that prompt by itself. In the second, the pictures are
drawn from the prompt. For each prompt, the quarter of noises with the highest scores in the first evaluation fits it,
and the quarter with the lowest does not. The result compares the mean scores of these two quarters in the second
evaluation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from npnet.data.json_lines import read_json_lines
from npnet.evaluation.contract import read_results, samples_of
from npnet.metrics.statistics import means
from npnet.papers.asked import Asked
from npnet.papers.jobs import Job
from npnet.papers.page import direction, named_prompts
from npnet.papers.setting import Setting
from npnet.papers.table import Table
from npnet.report.formats import with_interval
from npnet.report.markdown import table as markdown_table
from npnet.report.wording import banner, metric_decimals, metric_heading
from npnet.text import markdown as escaped

Scores = Mapping[tuple[str, str], Mapping[str, Sequence[float | None]]]
"""(method, prompt) -> metric -> the scores of its noises, in the order of the seeds."""


def fitting_less_others(alone: Sequence[float], drawn: Sequence[float]) -> tuple[float, float]:
    """Return the mean of ``drawn`` over the quarter where ``alone`` is highest, and where it is lowest.

    Args:
        alone: scores of N noises without the prompt, N at least 2.
        drawn: their scores with it; a noise that lacks either score is left out.
    """
    keys, values = np.asarray(alone, dtype=float), np.asarray(drawn, dtype=float)
    known = np.isfinite(keys) & np.isfinite(values)
    values = values[known][np.argsort(keys[known], kind="stable")]
    size = max(1, len(values) // 4)
    return float(values[-size:].mean()), float(values[:size].mean())


def meanings(table: Table, where: str, setting: Setting, jobs: Sequence[Job], asked: Asked) -> list[str]:
    """Return how much better the pictures are from noises that fit their prompt by themselves.

    Raises:
        UserError: existing results cannot be read.
    """
    evaluated = [job for job in jobs if job.command == "evaluate" and job.is_done]
    sets: dict[str, dict[str, Job]] = defaultdict(dict)
    for job in evaluated:
        sets[job.place["prompts"]][job.place["case"]] = job
    rows: list[list[str]] = []
    smoke: dict[str, None] = {}
    counts: set[int] = set()
    ordered = ""
    for prompts, of in sets.items():
        if len(of) < len(table.cases):
            continue
        alone, drawn = (_read(of[case]) for case in table.cases)
        results = read_results(of["prompt"].output_dir / "results.json")
        smoke |= dict.fromkeys(filter(None, [banner(results)]))
        counts.add(results["num_pairs"])
        ordered = next(iter(results["metrics"]))
        first, *others = table.methods
        orders = [(first, first), *((other, by) for other in others for by in (first, other))]
        for method, by in orders:
            texts = [prompt for label, prompt in drawn if label == method]
            for metric, facts in results["metrics"].items():
                found = [
                    fitting_less_others(_numbers(alone[by, text][ordered]), _numbers(drawn[method, text][metric]))
                    for text in texts
                ]
                high, low = (means([pair[side] for pair in found], texts)[0] for side in (0, 1))
                gain = means([pair[0] - pair[1] for pair in found], texts)[0]
                scale, digits = facts["display_scale"], metric_decimals(results, metric)
                shown = [with_interval(one.mean, one.interval, scale, digits) for one in (high, low)]
                more = with_interval(gain.mean, gain.interval, scale, digits, signed=True)
                noise = {first: "as drawn"}.get(method, "erased")
                order = "as drawn" if by == first else "erased"
                own = "more" if method == by == first else ""
                verdict = direction(1, gain.interval) if own else ""
                name = metric_heading(results, metric)
                rows.append([named_prompts(setting, prompts), noise, order, name, *shown, more, own, verdict])
    heading = ["prompts", "noise", "ordered by the noise", "metric", "fits its prompt", "fits it least", "difference"]
    said = [
        f"{' to '.join(map(str, sorted(counts))) or '0'} pairs. Brackets are 95 % confidence intervals over prompts."
    ]
    said += [f"{len(evaluated)} of {len(jobs)} evaluations are finished."] if len(evaluated) < len(jobs) else []
    return [
        " ".join(said),
        *map(escaped, smoke),
        markdown_table([*heading, "published", "same direction?"], rows),
        f"The quarters are chosen by {escaped(ordered or 'the first metric')} of the pictures of the empty prompt. "
        "After erasure, a noise is a new one: ordered by the noise as drawn, no difference should remain; ordered by "
        "itself, it has as much meaning as any other noise.",
    ]


def _read(job: Job) -> Scores:
    path = samples_of(job.output_dir, read_results(job.output_dir / "results.json"))
    found: dict[tuple[str, str], dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    for _, line in read_json_lines(path, str(path)):
        for metric, score in line["scores"].items():
            found[line["method"], line["prompt"]][metric].append(score)
    return found


def _numbers(scores: Sequence[float | None]) -> list[float]:
    return [float("nan") if score is None else score for score in scores]
