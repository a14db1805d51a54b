"""The results as Markdown tables, to be pasted into a README or a paper: ``results.md``."""

from __future__ import annotations

from collections.abc import Sequence

from npnet.evaluation.contract import Results
from npnet.report import diversity, wording
from npnet.text import markdown


def tables(results: Results, above: str = "") -> str:
    """Return the scores, each method against standard, and the methods against each other, under a headline."""
    names = list(results["metrics"])
    parts = [f"{markdown(above or wording.headline(results))}. Brackets are 95 % confidence intervals over prompts."]
    smoke = wording.banner(results)
    parts += [markdown(smoke)] if smoke else []
    spread = [diversity.cells(results, label) for label in results["methods"]]
    rows = zip(wording.score_rows(results), spread, strict=True)
    scores = [[row.method, *row.scores, *own, row.forwards] for row, own in rows]
    headings = [wording.metric_heading(results, name) for name in names]
    parts += _titled("Mean score", ["method", *headings, *diversity.columns(results), "forwards a picture"], scores)

    versus_standard = wording.pairs_versus_standard(results)
    if versus_standard:
        compared = [(pair[0], wording.comparison_rows(results, [pair])) for pair in versus_standard]
        gains = [[wording.shown(results, label), *(row.gain + row.mark for row in found)] for label, found in compared]
        rates = [
            [wording.shown(results, label), *(row.winning_rate + row.mark for row in found)]
            for label, found in compared
        ]
        parts += _titled("Mean gain on standard", ["method", *headings], gains)
        parts += _titled("Winning rate against standard; ties do not count as wins", ["method", *names], rates)
    among = wording.comparison_rows(results, wording.pairs_among_others(results))
    if among:
        others = [
            [row.method, row.other, row.metric, row.gain, row.winning_rate, row.ties, row.p_value] for row in among
        ]
        heading = ["method", "against", "metric", "mean gain", "winning rate", "ties", "p"]
        parts += _titled("Against each other", heading, others)
    spreads, noises = diversity.rows(results), diversity.noise_rows(results)
    parts += _titled(diversity.TITLE, diversity.heading(results), spreads) if spreads else []
    parts += _titled(diversity.NOISE_TITLE, diversity.noise_heading(), noises) if noises else []
    said = [*wording.method_notes(results), *wording.metric_notes(results), *diversity.notes(results)]
    notes = map(markdown, said)
    return "\n\n".join([*parts, *notes]) + "\n"


def _titled(title: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"**{title}**", table(heading, rows)]


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, which shows every cell's text as it is."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(map(markdown, line)) + " |" for line in lines)
