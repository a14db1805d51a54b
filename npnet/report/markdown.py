"""The results as Markdown tables, to be pasted into a README or a paper: ``results.md``."""

from __future__ import annotations

from collections.abc import Sequence

from npnet.evaluation.contract import Results
from npnet.report import wording
from npnet.text import markdown


def tables(results: Results) -> str:
    """Return the scores, each method against standard, and the methods against each other."""
    names = list(results["metrics"])
    parts = [f"{markdown(wording.headline(results))}. [95 % interval over prompts]."]
    scores = [[row.method, *row.scores, row.forwards] for row in wording.score_rows(results)]
    headings = [wording.metric_heading(results, name) for name in names]
    parts += _titled(results, "Mean score", ["method", *headings, "forwards a picture"], scores)

    versus_standard = wording.pairs_versus_standard(results)
    if versus_standard:
        compared = [(pair[0], wording.comparison_rows(results, [pair])) for pair in versus_standard]
        gains = [[wording.shown(results, label), *(row.gain + row.mark for row in found)] for label, found in compared]
        rates = [
            [wording.shown(results, label), *(row.winning_rate + row.mark for row in found)]
            for label, found in compared
        ]
        parts += _titled(results, "Mean gain on standard", ["method", *headings], gains)
        parts += _titled(results, "Winning rate against standard; ties are no wins", ["method", *names], rates)
    among = wording.comparison_rows(results, wording.pairs_among_others(results))
    if among:
        rows = [[row.method, row.other, row.metric, row.gain, row.winning_rate, row.p_value] for row in among]
        heading = ["method", "against", "metric", "mean gain", "winning rate", "p"]
        parts += _titled(results, "Against each other", heading, rows)
    notes = map(markdown, [*wording.method_notes(results), *wording.metric_notes(results)])
    return "\n\n".join([*parts, *notes]) + "\n"


def _titled(results: Results, title: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the title, with what stands across a table too small to tell methods apart, and the table."""
    smoke = wording.banner(results)
    return [f"**{title}**" + (f" ({markdown(smoke)})" if smoke else ""), table(heading, rows)]


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, which shows every cell's text as it is."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(markdown, line)) + " |" for line in lines)
