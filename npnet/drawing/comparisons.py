"""Plots that compare methods: shares of wins, gains, and scores against cost, as SVG for a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from matplotlib.axes import Axes

from npnet.drawing.figures import INK, PANELS_IN_A_ROW, in_a_page, name_places, to_svg, whiskers
from npnet.drawing.palette import BLUE, GREY, VERMILLION, style_of

Interval = Sequence[float | None]
Entry = TypeVar("Entry")
VERDICT_STYLE: dict[str, dict[str, Any]] = {
    "better": {"color": BLUE, "markerfacecolor": BLUE, "marker": "o"},
    "worse": {"color": VERMILLION, "markerfacecolor": VERMILLION, "marker": "s"},
    "undecided": {"color": GREY, "markerfacecolor": "none", "marker": "D"},
}
POINT: dict[str, Any] = {"markersize": 5.5, "elinewidth": 1.4, "capsize": 3, "linestyle": "none"}
LEGEND_LETTERS = 130
"""That fit into one row under a figure."""


@dataclass(frozen=True)
class Shares:
    """How often one won, and how often neither, in [0, 1]; None where nothing was compared."""

    wins: float | None
    ties: float
    interval: Interval


@dataclass(frozen=True)
class Gain:
    """A mean gain with its interval; ``verdict`` is a key of ``VERDICT_STYLE``."""

    mean: float | None
    interval: Interval
    verdict: str


@dataclass(frozen=True)
class Point:
    """One method's mean score; ``line`` are cost and best score of its search as it spent, where it searched."""

    mean: float | None
    interval: Interval
    line: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Panel(Generic[Entry]):
    """One panel: its title, and an entry for each row or each method."""

    title: str
    entries: Sequence[Entry]


def plot_shares(labels: Sequence[str], panels: Sequence[Panel[Shares]]) -> str:
    """Draw wins, ties and losses in percent, a row for each label and a panel for each metric.

    Wins begin on the left; the bar at their end is the interval of their share.
    """

    def draw(axis: Axes, row: int, entry: Shares) -> None:
        if entry.wins is None:
            return
        losses = max(1 - entry.wins - entry.ties, 0.0)
        start = 0.0
        for share, color, alpha in ((entry.wins, BLUE, 0.55), (entry.ties, GREY, 0.22), (losses, VERMILLION, 0.5)):
            axis.barh(row, 100 * share, left=100 * start, height=0.56, color=color, alpha=alpha, linewidth=0)
            start += share
        error = whiskers(entry.wins, entry.interval, 100)
        axis.errorbar(100 * entry.wins, row, xerr=error, color=INK, marker="|", **{**POINT, "markersize": 9})

    return _rows(labels, panels, draw, "% of pairs: wins, ties, losses", 50.0, (0.0, 100.0))


def plot_gains(labels: Sequence[str], panels: Sequence[Panel[Gain]]) -> str:
    """Draw mean gains with their intervals, a row for each label and a panel for each metric."""

    def draw(axis: Axes, row: int, entry: Gain) -> None:
        if entry.mean is not None:
            error = whiskers(entry.mean, entry.interval)
            axis.errorbar(entry.mean, row, xerr=error, **VERDICT_STYLE[entry.verdict], **POINT)

    return _rows(labels, panels, draw, "mean gain in score", 0.0, None)


def plot_cost(labels: Sequence[str], costs: Sequence[float], panels: Sequence[Panel[Point]]) -> str:
    """Draw mean score against denoiser forwards of a picture; lines are searches, their best score as they spend."""
    columns = _legend_columns(labels)
    places = _beside_each_other(costs)
    with in_a_page(len(panels), height=2.7 + 0.17 * -(-len(labels) // columns)) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            axis.set_title(panel.title)
            for number, (label, place, point) in enumerate(zip(labels, places, panel.entries, strict=True)):
                _draw_point(axis, label, place, point, style_of(number))
            axis.set_xlabel("denoiser forwards for a picture")
            axis.margins(x=0.12, y=0.15)
            axis.set_xlim(left=0)
            axis.locator_params(axis="x", integer=True)
        axes[0].set_ylabel("mean score")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
        return to_svg(figure, "Mean score of each method against its cost")


def _draw_point(axis: Axes, label: str, place: float, point: Point, style: dict[str, Any]) -> None:
    if point.mean is None:
        return
    if point.line:
        x, y = zip(*point.line, strict=True)
        axis.plot(x, y, **style, markersize=3, linewidth=1.2, alpha=0.8)
    axis.errorbar(place, point.mean, yerr=whiskers(point.mean, point.interval), label=label, **style, **POINT)


def _beside_each_other(costs: Sequence[float]) -> list[float]:
    """Move equal costs apart, by a hundredth of the largest each, so that their points do not hide one another."""
    gap = 0.012 * max(costs)
    return [cost + gap * (costs[:i].count(cost) - (costs.count(cost) - 1) / 2) for i, cost in enumerate(costs)]


def _legend_columns(labels: Sequence[str]) -> int:
    longest = max(map(len, labels), default=0) + 6  # with the mark and the space between
    return max(1, min(len(labels), LEGEND_LETTERS // longest))


def _rows(
    labels: Sequence[str],
    panels: Sequence[Panel[Entry]],
    draw: Callable[[Axes, int, Entry], None],
    caption: str,
    reference: float,
    limits: tuple[float, float] | None,
) -> str:
    """Draw one row for each label in every panel; ``draw`` fills a row."""
    with in_a_page(len(panels), height=0.85 + 0.27 * len(labels)) as (figure, axes):
        for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
            for row, entry in enumerate(panel.entries):
                draw(axis, row, entry)
            axis.axvline(reference, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.set_title(panel.title)
            name_places(axis.yaxis, labels if number % PANELS_IN_A_ROW == 0 else [""] * len(labels))
            axis.set_ylim(len(labels) - 0.4, -0.6)
            axis.set_xlabel(caption)
            axis.margins(x=0.08)
            axis.locator_params(axis="x", nbins=5 if len(panels) < PANELS_IN_A_ROW else 4)
            if limits is not None:
                axis.set_xlim(*limits)
        return to_svg(figure, f"{caption}, with 95 % intervals")
