"""Several finished evaluations as one table, such as those of a sweep (``evaluate.py --multirun ...``).

    npnet sweep outputs/tables/figure4/* [plot=FILE.svg]

Prints Markdown: a row for each method of each evaluation, with the settings in which the evaluations differ. ``plot``
draws the mean scores against the first of these settings. Imports no torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from npnet.arguments import asked
from npnet.bounds import is_number
from npnet.description import Description
from npnet.drawing.curves import Series, SeriesPanel, plot_series
from npnet.ending import end
from npnet.errors import UserError, reworded
from npnet.evaluation.contract import Results, read_results
from npnet.fields import NotEmpty
from npnet.report import diversity, markdown, wording
from npnet.text import markdown as escaped

SUMMARY = "Show a sweep's finished evaluations as one table."
POSITIONAL = ("folders",)
WITHOUT_MEANING = ("training_seeds", "keep_images", "num_pictures", "chunk_size", "batch_size")
"""Settings that change no number, or of which the method's label says enough."""


@dataclass(frozen=True)
class SweepSettings(Description):
    """The keys of ``sweep``.

    Attributes:
        folders: folders of ``npnet evaluate``.
        plot: file to draw the mean scores into: .svg, .png or .pdf.
    """

    folders: Annotated[tuple[Path, ...], NotEmpty()]
    plot: Path | None = None


@dataclass(frozen=True)
class Run:
    """A finished evaluation: ``varied`` holds the settings in which it may differ from the others, as texts."""

    folder: Path
    results: Results
    varied: dict[str, str]


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read finished evaluations, in the order of the settings in which they differ, numbers by their size.

    Raises:
        UserError: a folder holds no results, or two evaluations have different metrics.
    """
    read = [(folder, _read(folder)) for folder in folders]
    flat = [_flatten(results["settings"]) for _, results in read]
    found: dict[tuple[str, ...], str] = {}  # a setting that follows another one adds nothing
    for key in sorted(flat[0], key=lambda key: key.startswith("noise.")):
        if all(key in one for one in flat):
            found.setdefault(tuple(_text(one[key]) for one in flat), key)
    keys = [key for values, key in found.items() if len(set(values)) > 1]
    for folder, results in read:
        if list(results["metrics"]) != list(read[0][1]["metrics"]):
            names = ", ".join(results["metrics"])
            raise UserError(f"{folder}: has other metrics ({names}) than {read[0][0]}; a table needs the same")
    order = sorted(range(len(read)), key=lambda i: [_rank(flat[i].get(key)) for key in keys])
    return [Run(*read[i], {key: _text(flat[i].get(key)) for key in keys}) for i in order]


def table(runs: Sequence[Run]) -> str:
    """Return the Markdown table of ``runs``."""
    names, first = list(runs[0].results["metrics"]), runs[0].results
    headings = [wording.metric_heading(first, name) for name in names]
    keys = list(runs[0].varied)
    has_standard = any("standard" in run.results["methods"] for run in runs)
    spread = diversity.common_columns([run.results for run in runs])
    gained = [f"{name}, gain on standard" for name in names if has_standard]
    heading = [*keys, "method", *headings, *gained, *spread]
    rows: list[list[str]] = []
    notes: dict[str, None] = {}
    for run in runs:
        against = wording.pairs_versus_standard(run.results)
        for label in run.results["methods"]:
            scores = [wording.score_text(run.results, label, name) for name in names]
            pair = [(label, "standard")] if (label, "standard") in against else []
            gains = [row.gain + row.mark for row in wording.comparison_rows(run.results, pair)]
            gains += [""] * (len(names) * has_standard - len(gains))
            own = diversity.cells_under(spread, run.results, label)
            rows.append([*run.varied.values(), wording.shown(run.results, label), *scores, *gains, *own])
        notes |= dict.fromkeys([*wording.method_notes(run.results), *wording.metric_notes(run.results)])
        notes |= dict.fromkeys(diversity.notes(run.results))
    counts = sorted({wording.count(run.results["num_pairs"], "pair") for run in runs})
    smoke = _smoke(runs)
    above = [f"{' to '.join(counts)} in each evaluation. Brackets are 95 % confidence intervals over prompts."]
    above += [escaped(smoke)] if smoke else []
    return "\n\n".join([*above, markdown.table(heading, rows), *map(escaped, notes)]) + "\n"


def plot(runs: Sequence[Run], path: Path) -> None:
    """Draw each method's mean scores and intervals against the first setting in which the evaluations differ.

    Raises:
        UserError: the file cannot be written.
    """
    key = next(iter(runs[0].varied), None)
    places = [run.varied[key] if key else run.folder.name for run in runs]
    panels = [_panel(runs, name) for name in runs[0].results["metrics"]]
    with reworded((OSError, ValueError), UserError, f"plot={path}: cannot be written: "):
        plot_series(path, places, key or "evaluation", panels, _smoke(runs))


def _panel(runs: Sequence[Run], name: str) -> SeriesPanel:
    """Return the scores of all methods on one metric, by the place of the evaluation."""
    scale = runs[0].results["metrics"][name]["display_scale"]
    methods = dict.fromkeys(label for run in runs for label in run.results["methods"])
    series = []
    for label in methods:
        found = [(place, run.results) for place, run in enumerate(runs) if label in run.results["methods"]]
        entries = [(place, results["methods"][label]["metrics"][name]) for place, results in found]
        points = [
            (place, scale * entry["mean"], scale * entry["interval"][0], scale * entry["interval"][1])
            for place, entry in entries
            if None not in (entry["mean"], *entry["interval"])
        ]
        series.append(Series(wording.shown(found[0][1], label), points))
    marked = any(m["metrics"][name]["optimised"] for run in runs for m in run.results["methods"].values())
    note = f" ({wording.DAGGER} for some)" if marked else ""
    return SeriesPanel(wording.metric_heading(runs[0].results, name) + note, series)


def _smoke(runs: Sequence[Run]) -> str | None:
    """Return what stands across the table where an evaluation is too small to tell methods apart."""
    return next((banner for run in runs if (banner := wording.banner(run.results))), None)


def _read(folder: Path) -> Results:
    path = folder / "results.json"
    if not path.is_file():
        raise UserError(f"{folder}: no finished evaluation there (results.json is missing)")
    return read_results(path)


def _flatten(node: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Return the settings by dotted key; a list counts as one value."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if not where and key in WITHOUT_MEANING:
            continue
        flat |= _flatten(value, f"{where}{key}.") if isinstance(value, Mapping) else {f"{where}{key}": value}
    return flat


def _rank(value: Any) -> tuple[int, float, str]:
    while isinstance(value, list) and value:
        value = value[0]
    return (0, float(value), "") if is_number(value) else (1, 0.0, str(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, or see ``read_runs`` and ``plot``.
    """
    settings = asked(SweepSettings, arguments, "sweep", SUMMARY, POSITIONAL)
    if settings is None:
        return 0
    runs = read_runs(settings.folders)
    if settings.plot:
        plot(runs, settings.plot)
    print(table(runs), end="")
    return 0


if __name__ == "__main__":
    end(lambda: main(sys.argv[1:]))
