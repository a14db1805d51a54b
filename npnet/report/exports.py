"""The results for other programs: ``results.csv``, a row a method and metric; ``results.tex``, tables for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from npnet.evaluation.contract import Results
from npnet.report import wording

COLUMNS = (
    *("method", "metric", "mean", "low", "high", "count", "missing", "optimised"),
    *("gain", "gain_low", "gain_high", "winning_rate", "ties", "p_value", "verdict"),
    *("forwards", "backwards", "scorer_calls", "seconds", "peak_bytes"),
)
SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{wording.MINUS: "$-$", wording.DAGGER: r"$^\dagger$", wording.NONE: "--"},
}
"""How LaTeX writes what it would otherwise read as its own."""


def to_csv(results: Results) -> str:
    """Return numbers on the metrics' own scales, of the gains on standard too; empty where there is none."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(COLUMNS)
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
            rows.writerow([label, name, *own, *gain, *costs])
    return file.getvalue()


def to_latex(results: Results) -> str:
    """Return the mean scores, and the mean gains on standard, as tables of ``booktabs``."""
    names = list(results["metrics"])
    headings = [wording.metric_heading(results, name) for name in names]
    scores = [[row.method, *row.scores, row.forwards] for row in wording.score_rows(results)]
    parts = [f"% {wording.headline(results)}. [95 % interval over prompts]."]
    banner = wording.banner(results)
    parts += [f"% {banner}"] if banner else []
    parts.append(_table(["method", *headings, "forwards"], scores))
    pairs = wording.pairs_versus_standard(results)
    gains = [
        [wording.shown(results, pair[0]), *(row.gain + row.mark for row in wording.comparison_rows(results, [pair]))]
        for pair in pairs
    ]
    parts += ["% Mean gain on standard", _table(["method", *headings], gains)] if gains else []
    return "\n".join(parts) + "\n"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [r"\begin{tabular}{l" + "r" * (len(heading) - 1) + "}", r"\toprule", _row(heading), r"\midrule"]
    return "\n".join([*lines, *map(_row, rows), r"\bottomrule", r"\end{tabular}"])


def _row(cells: Sequence[str]) -> str:
    # a bracket after the end of a row would be read as the room below it
    return " & ".join("".join(SPECIAL.get(c, c) for c in " ".join(cell.split())) for cell in cells) + r" \\"
