"""The results for other programs: ``results.csv``, a row a method and metric; ``results.tex``, tables for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from npnet.evaluation.contract import MethodResults, Results
from npnet.report import diversity, formats, wording

COLUMNS = (
    *("method", "metric", "mean", "low", "high", "count", "missing", "optimised"),
    *("gain", "gain_low", "gain_high", "winning_rate", "ties", "p_value", "verdict"),
    *("forwards", "backwards", "scorer_calls", "seconds", "peak_bytes"),
)
MEASURES = tuple(diversity.NOISE)
NOISES = tuple(f"noise_{name}" for name in MEASURES)
SPREADS = tuple(
    f"{kind}{part}"
    for kind in ("distance", "vendi")
    for part in ("", "_low", "_high", "_share", "_share_low", "_share_high")
)
"""For each space; a share is of the diversity of the method that ``results.json`` names."""
SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{formats.MINUS: "$-$", wording.DAGGER: r"$^\dagger$", formats.NONE: "--"},
}
"""How LaTeX writes what it would otherwise read as its own."""


def to_csv(results: Results) -> str:
    """Return numbers on the metrics' own scales, of the gains on standard too; empty where there is none."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    spaces = list(results.get("diversity", {}).get("spaces", {}))
    spreads = [f"{space}_{column}" for space in spaces for column in SPREADS]
    rows.writerow([*COLUMNS, *NOISES, *spreads])
    for label, method in results["methods"].items():
        cost = method["cost"]
        costs = (cost["forwards"], cost["backwards"], cost["scorer_calls"], cost["seconds"], cost["peak_bytes"])
        for name, entry in method["metrics"].items():
            own = (entry["mean"], *entry["interval"], entry["count"], entry["missing"], entry["optimised"])
            gain: Sequence[Any] = [None] * 7
            if "versus_standard" in method:
                versus = method["versus_standard"][name]
                gain = [versus["mean_difference"], *versus["difference_interval"], versus["winning_rate"]]
                gain += [versus["ties"], versus["p_value"], versus["verdict"]]
            rows.writerow([label, name, *own, *gain, *costs, *_diversity(method, spaces)])
    return file.getvalue()


def _diversity(method: MethodResults, spaces: Sequence[str]) -> list[Any]:
    """Return what is known of a method's noise and of its pictures' diversity; empty where nothing is."""
    noise = method.get("noise", {})
    found: list[Any] = [noise[name]["mean"] if name in noise else None for name in MEASURES]
    for space in spaces:
        entry = method["diversity"][space]
        distance, vendi = entry["distance"], entry["vendi"]
        found += [distance["mean"], *distance["interval"], distance["share"], *distance["share_interval"]]
        found += [vendi["mean"], *vendi["interval"], vendi["share"], *vendi["share_interval"]]
    return found


def to_latex(results: Results) -> str:
    """Return the mean scores, and the mean gains on standard, as tables of ``booktabs``."""
    names = list(results["metrics"])
    headings = [wording.metric_heading(results, name) for name in names]
    spread = [diversity.cells(results, label) for label in results["methods"]]
    rows = zip(wording.score_rows(results), spread, strict=True)
    scores = [[row.method, *row.scores, *own, row.forwards] for row, own in rows]
    parts = [f"% {wording.headline(results)}. Brackets are 95 % confidence intervals over prompts."]
    banner = wording.banner(results)
    parts += [f"% {banner}"] if banner else []
    parts.append(_table(["method", *headings, *diversity.columns(results), "forwards"], scores))
    pairs = wording.pairs_versus_standard(results)
    gains = [
        [wording.shown(results, pair[0]), *(row.gain + row.mark for row in wording.comparison_rows(results, [pair]))]
        for pair in pairs
    ]
    parts += ["% Mean gain on standard", _table(["method", *headings], gains)] if gains else []
    spreads, noises = diversity.rows(results), diversity.noise_rows(results)
    parts += [f"% {diversity.TITLE}", _table(diversity.heading(results), spreads)] if spreads else []
    parts += [f"% {diversity.NOISE_TITLE}", _table(diversity.noise_heading(), noises)] if noises else []
    parts += [f"% {note}" for note in diversity.notes(results)]
    return "\n".join(parts) + "\n"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [r"\begin{tabular}{l" + "r" * (len(heading) - 1) + "}", r"\toprule", _row(heading), r"\midrule"]
    return "\n".join([*lines, *map(_row, rows), r"\bottomrule", r"\end{tabular}"])


def _row(cells: Sequence[str]) -> str:
    # a bracket after the end of a row would be read as the room below it
    return " & ".join("".join(SPECIAL.get(c, c) for c in " ".join(cell.split())) for cell in cells) + r" \\"
