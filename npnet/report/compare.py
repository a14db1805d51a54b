"""Compare the methods of several evaluations, on the samples and metrics that the evaluations have in common.

    npnet compare outputs/a outputs/b [num_resamples=N]

A RUN is a folder of ``npnet evaluate``, or its ``results.json`` with ``samples.jsonl`` beside it. Prints
Markdown: a table for each group of runs that share samples. Imports torch, for the statistics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from npnet.arguments import asked
from npnet.bounds import Resamples
from npnet.description import Description, imported
from npnet.evaluation.contract import CostEntry, Diversity, MethodResults, Results
from npnet.fields import NotEmpty
from npnet.report import markdown
from npnet.report.diversity import NOISE
from npnet.report.runs import Key, Run, read_run
from npnet.text import markdown as escaped

SUMMARY = "Compare the methods of several evaluations on their common samples."
POSITIONAL = ("runs",)
ROUNDING = 1e-4
"""Relative. Scores of one picture that was drawn in batches of other sizes differ by less."""
NO_FEATURES = "no space whose features are in the cells/ of all runs"


@dataclass(frozen=True)
class CompareSettings(Description):
    """The keys of ``compare``.

    Attributes:
        runs: folders of ``npnet evaluate``.
        num_resamples: of prompts, for the intervals.
    """

    runs: Annotated[tuple[Path, ...], NotEmpty()]
    num_resamples: Resamples = 10000


@dataclass(frozen=True)
class _Metric:
    """The properties of a metric for the statistics; nothing that a file names is built."""

    display_scale: float
    pairwise: bool = False


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Divide runs into groups that have samples and metrics in common."""
    found: list[list[Run]] = []
    for run in runs:
        home = next((group for group in found if _common([*group, run]) and _metrics([*group, run])), None)
        if home is None:
            found.append([run])
        else:
            home.append(run)
    return found


def compare(runs: Sequence[Run], num_resamples: int) -> Results:
    """Return the results of all methods on the common samples of some runs, as if they were one evaluation."""
    samples, names, first = _common(runs), _metrics(runs), runs[0].results
    methods = _methods(runs, samples, names)
    make = imported("npnet.engine.methods:MethodScores")
    records, optimised, costs, marks = {}, {}, {}, {}
    for label, (run, own) in methods.items():
        members = [own[network] for network in sorted(own)]
        records[label] = [make({n: [one[key]["scores"][n] for key in samples] for n in names}) for one in members]
        told = run.results["methods"][label if label in run.lines else label.partition(" @ ")[0]]
        optimised[label] = [name for name in names if told["metrics"][name]["optimised"]]
        forwards = sum(one[key]["forwards"] for one in members for key in samples) / (len(members) * len(samples))
        costs[label] = cast(CostEntry, {**told["cost"], "forwards": forwards})
        marks[label] = told
    metrics = {name: _Metric(first["metrics"][name]["display_scale"]) for name in names}
    prompts = [prompt for prompt, _ in samples]
    statistics = imported("npnet.evaluation.comparison:compare_methods")
    found = statistics(records, prompts, metrics, optimised, num_resamples)
    told_of = _add_diversity(found, runs, methods, samples, num_resamples)
    for label, method in found.items():
        method["cost"] = costs[label]
        for key in ("null_control", "members"):
            if key in marks[label]:
                method[key] = marks[label][key]
    smoke = len(samples) < 400 or any(run.results["metrics"][n]["random_weights"] for run in runs for n in names)
    facts = {n: {**first["metrics"][n], "notes": _notes(runs, n)} for n in names}
    of = {
        "num_pairs": len(samples),
        "num_prompts": len(set(prompts)),
        "smoke": smoke,
        "methods": found,
        "diversity": told_of,
    }
    return imported("npnet.evaluation.results:plain")({**first, **of, "metrics": facts})


def table(runs: Sequence[Run], num_resamples: int) -> str:
    """Return the tables of runs that share samples."""
    results = compare(runs, num_resamples)
    asked = [str(run.results["num_pairs"]) for run in runs]
    pairs, prompts = results["num_pairs"], results["num_prompts"]
    above = f"{', '.join(run.name for run in runs)}: {pairs} common pairs ({prompts} prompts) of {', '.join(asked)}"
    return markdown.tables(results, above)


def _add_diversity(
    found: Mapping[str, MethodResults],
    runs: Sequence[Run],
    methods: Mapping[str, tuple[Run, Mapping[str, Mapping[Key, Any]]]],
    samples: Sequence[Key],
    num_resamples: int,
) -> Diversity:
    """Add diversity in the spaces that all runs have, from the features in their cells, and the noise's measures."""
    digests = [run.digests["spaces"] for run in runs]
    spaces = {name: d for name, d in digests[0].items() if all(other.get(name) == d for other in digests)}
    stores = {
        run.name: imported("npnet.evaluation.store:Store")(Path(run.name), run.digests["methods"].values())
        for run in runs
    }
    columns = {
        label: [
            {
                **{measure: [own[network][key]["noise"].get(measure) for key in samples] for measure in NOISE},
                **{
                    space: [stores[run.name].value(run.digests["methods"][network], digest, key) for key in samples]
                    for space, digest in spaces.items()
                },
            }
            for network in sorted(own)
        ]
        for label, (run, own) in methods.items()
    }
    known = runs[0].results.get("diversity", {}).get("spaces", {})
    facts = {space: known[space] for space in spaces if space in known}
    prompts = [prompt for prompt, _ in samples]
    kernels = {space: about["kernel_width"] for space, about in facts.items()}
    imported("npnet.evaluation.diversity:add_diversity")(found, columns, kernels, prompts, num_resamples)
    return cast(Diversity, imported("npnet.evaluation.diversity:facts")(facts, list(found), prompts, NO_FEATURES))


def _methods(
    runs: Sequence[Run], samples: Sequence[Key], names: Sequence[str]
) -> dict[str, tuple[Run, dict[str, dict[Key, Any]]]]:
    """Return every method once; two runs with the same label and scores are one, others get their name."""
    found: dict[str, tuple[Run, dict[str, dict[Key, Any]]]] = {}
    for run in runs:
        for label, own in run.lines.items():
            if label in found and _alike(found[label][1], own, samples, names):
                continue
            found[label if label not in found else f"{label} @ {run.name}"] = run, own
    return found


def _alike(
    one: Mapping[str, Mapping[Key, Any]], other: Mapping[str, Mapping[Key, Any]], samples: Sequence[Key], names: Any
) -> bool:
    """Say whether all scores are the same, up to the rounding of batches of other sizes."""

    def numbers(networks: Mapping[str, Mapping[Key, Any]]) -> list[float]:
        return [networks[n][key]["scores"][name] for n in sorted(networks) for key in samples for name in names]

    def close(a: float, b: float) -> bool:
        return math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING / 10) or (math.isnan(a) and math.isnan(b))

    ours, theirs = numbers(one), numbers(other)
    return len(ours) == len(theirs) and all(map(close, ours, theirs))


def _common(runs: Sequence[Run]) -> list[Key]:
    others = [set(run.samples) for run in runs[1:]]
    return [key for key in runs[0].samples if all(key in other for other in others)]


def _metrics(runs: Sequence[Run]) -> list[str]:
    """Return the metrics that all runs have under the same name and with the same settings."""
    nodes = [run.results["settings"].get("metric", {}) for run in runs]
    return [
        name
        for name in runs[0].results["metrics"]
        if all(name in run.results["metrics"] for run in runs) and all(n.get(name) == nodes[0].get(name) for n in nodes)
    ]


def _notes(runs: Sequence[Run], name: str) -> list[str]:
    return list(dict.fromkeys(note for run in runs for note in run.results["metrics"][name]["notes"]))


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, or see ``read_run``.
    """
    settings = asked(CompareSettings, arguments, "compare", SUMMARY, POSITIONAL)
    if settings is None:
        return 0
    found = groups([read_run(path) for path in settings.runs])
    if len(found) > 1:
        told = "; ".join(", ".join(run.name for run in group) for group in found)
        print(escaped(f"{len(found)} tables, because these share no samples or no metrics: {told}.") + "\n")
    print("\n".join(table(group, settings.num_resamples) for group in found), end="")
    return 0
