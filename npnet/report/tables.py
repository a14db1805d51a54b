"""The results as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from rich import box
from rich.table import Table

from npnet.drawing.terminal import add_row, cell, console
from npnet.evaluation.contract import Results
from npnet.report import diversity, formats, wording

METRICS_ABREAST = 3
"""More metrics go into further tables, each with the costs."""
MOST_ROWS = 24
"""A longer table of methods against each other is left to the report."""


def print_tables(results: Results, file: IO[str] | None = None) -> None:
    """Print scores with costs, each method against standard, and the methods against each other."""
    screen = console(file)
    smoke = wording.banner(results)
    screen.print(cell(wording.headline(results), style="bold"))
    if smoke:
        screen.print(cell(smoke, style="bold reverse"))

    names = list(results["metrics"])
    for start in range(0, len(names), METRICS_ABREAST):
        screen.print(_scores(results, start, names[start : start + METRICS_ABREAST]))

    for title, heading, rows in (
        (diversity.TITLE, diversity.heading(results), diversity.rows(results)),
        (diversity.NOISE_TITLE, diversity.noise_heading(), diversity.noise_rows(results)),
    ):
        if rows:
            screen.print(_plain(title, heading, rows))
    versus_standard = wording.comparison_rows(results, wording.pairs_versus_standard(results))
    if versus_standard:
        screen.print(_comparisons("Against standard", versus_standard))
    among = wording.comparison_rows(results, wording.pairs_among_others(results))
    if len(among) > MOST_ROWS:
        screen.print(cell(f"Against each other: {len(among)} rows, see the report"))
    elif among:
        screen.print(_comparisons("Against each other", among))
    lines = [
        "brackets: 95 % confidence intervals over prompts; ties count as losses; p is corrected for several metrics"
    ]
    screen.print(cell("\n".join([*lines, *_notes(results)]), style="dim"))


def _notes(results: Results) -> list[str]:
    return [*wording.method_notes(results), *wording.metric_notes(results), *diversity.notes(results)]


def _plain(title: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = _table(title)
    for name in heading:
        table.add_column(cell(name), justify="left" if name in ("method", "space") else "right", overflow="fold")
    for row in rows:
        add_row(table, row)
    return table


def _scores(results: Results, start: int, names: Sequence[str]) -> Table:
    """Return the table of the metrics ``names``, of which the first has number ``start``."""
    table = _table("Mean score and cost of a picture")
    for name in ("method", *names):
        table.add_column(cell(name), justify="left" if name == "method" else "right", overflow="fold")
    for name in diversity.columns(results):
        table.add_column(cell(name), justify="right", overflow="fold")
    rows = wording.score_rows(results)
    costs = {
        "forwards": [row.forwards for row in rows],
        **{name: own for name, own in _rare(rows).items() if set(own) != {"0"}},  # most methods have neither
        "time": [row.seconds for row in rows],
        "peak memory": [row.peak for row in rows],
    }
    for name in costs:
        table.add_column(name, justify="right", style="dim")
    for row, label, *own in zip(rows, results["methods"], *costs.values(), strict=True):
        add_row(table, [row.method, *row.scores[start : start + len(names)], *diversity.cells(results, label), *own])
    return table


def _rare(rows: Sequence[wording.ScoreRow]) -> dict[str, list[str]]:
    return {"backwards": [row.backwards for row in rows], "scorer calls": [row.scorer_calls for row in rows]}


def _comparisons(title: str, rows: Sequence[wording.ComparisonRow]) -> Table:
    table = _table(title)
    for name in ("method", "against", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("mean gain", "winning rate", "ties", "p"):
        table.add_column(name, justify="right", overflow="fold")
    preferences = any(row.preference != formats.NONE for row in rows)
    if preferences:
        table.add_column("mean preference", justify="right")
    table.add_column("in short")
    for row in rows:
        preference = (row.preference,) if preferences else ()
        numbers = (row.gain, row.winning_rate, row.ties, row.p_value, *preference)
        add_row(table, [row.method, row.other, row.metric, *numbers, wording.VERDICTS[row.verdict]])
    return table


def _table(title: str) -> Table:
    return Table(title=cell(title), title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
