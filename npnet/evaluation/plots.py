"""The report's plots: winning rates, mean gains, scores against cost; SVG that takes the page's colours and font."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from npnet.evaluation import wording
from npnet.evaluation.wording import DAGGER, Results

INK, GRID = "#010203", "#040506"
"""Stand for the page's text colour and line colour, light or dark, which are put in at the end."""
BLUE, VERMILLION, GREY = "#0072b2", "#d55e00", "#7f7f7f"
PALETTE = (
    BLUE,
    "#e69f00",
    "#009e73",
    VERMILLION,
    "#cc79a7",
    "#56b4e9",
    "#8c6d31",
    GREY,
    "#999933",
    "#44aa99",
    "#aa4499",
)
"""Okabe and Ito's colours, told apart in every form of colour blindness, and three of Tol's; each method has its own
marker besides."""
MARKERS = "osD^vPX*<>hpd"
VERDICT_STYLE = {
    "better": {"color": BLUE, "markerfacecolor": BLUE, "marker": "o"},
    "worse": {"color": VERMILLION, "markerfacecolor": VERMILLION, "marker": "s"},
    "undecided": {"color": GREY, "markerfacecolor": "none", "marker": "D"},
}
PANELS_IN_A_ROW = 3
WIDTH = 9.4
"""Of a figure in inches; the page scales it."""
LEGEND_LETTERS = 130
"""That fit into one row under a figure."""


def plot_winning_rates(results: Results, pairs: Sequence[tuple[str, str]]) -> str:
    """Draw the share of wins, ties and losses of each pair of methods, a panel for each metric, in percent.

    The bar at the end of the wins is the winning rate's interval.
    """

    def draw(axis: Any, row: int, entry: Mapping[str, Any], scale: float) -> None:
        rate, ties = entry["winning_rate"], entry["ties"]
        if rate is None:
            return
        shares = ((rate, BLUE, 0.55), (ties, GREY, 0.22), (max(1 - rate - ties, 0.0), VERMILLION, 0.5))
        start = 0.0
        for share, color, alpha in shares:
            axis.barh(row, 100 * share, left=100 * start, height=0.56, color=color, alpha=alpha, linewidth=0)
            start += share
        error = _error(rate, entry["interval"], 100)
        axis.errorbar(100 * rate, row, xerr=error, color=INK, marker="|", **{**_POINT, "markersize": 9})

    return _rows(results, pairs, draw, "% of pairs: wins, ties, losses", 50.0, (0.0, 100.0))


def plot_gains(results: Results, pairs: Sequence[tuple[str, str]]) -> str:
    """Draw the mean gain of each pair of methods with its interval, a panel for each metric."""

    def draw(axis: Any, row: int, entry: Mapping[str, Any], scale: float) -> None:
        value = entry["mean_difference"]
        if value is not None:
            error = _error(value, entry["difference_interval"], scale)
            axis.errorbar(scale * value, row, xerr=error, **VERDICT_STYLE[entry["verdict"]], **_POINT)

    return _rows(results, pairs, draw, "mean gain in score", 0.0, None)


def plot_score_against_cost(results: Results) -> str:
    """Draw mean score against denoiser forwards of a picture; lines are searches, their best score as they spend."""
    names, methods = list(results["metrics"]), results["methods"]
    marks = [DAGGER if any(entry["optimised"] for entry in m["metrics"].values()) else "" for m in methods.values()]
    labels = [wording.shown(results, label) + mark for label, mark in zip(methods, marks, strict=True)]
    columns = _legend_columns(labels)
    places = _beside_each_other([method["cost"]["forwards"] for method in methods.values()])
    with _figure(len(names), height=2.7 + 0.17 * -(-len(labels) // columns)) as (figure, axes):
        for axis, name in zip(axes, names, strict=False):
            scale = results["metrics"][name]["display_scale"]
            marked = any(method["metrics"][name]["optimised"] for method in methods.values())
            axis.set_title(name + (f" ({DAGGER} for some)" if marked else ""))
            for number, method in enumerate(methods.values()):
                style = {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}
                _draw_cost(axis, method, name, scale, places[number], label=labels[number], **style)
            axis.set_xlabel("denoiser forwards for a picture")
            axis.margins(x=0.12, y=0.15)
            axis.set_xlim(left=0)
            axis.locator_params(axis="x", integer=True)
        axes[0].set_ylabel("mean score")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
        return _svg(figure, "Mean score of each method against its cost")


def _draw_cost(
    axis: Any, method: Mapping[str, Any], name: str, scale: float, place: float, label: str, color: str, marker: str
) -> None:
    """Draw one method's point, and the line of its search where it searched with this metric."""
    entry, trace = method["metrics"][name], method.get("trace") or {}
    if entry["mean"] is None:
        return
    if trace.get("metric") == name:
        points = [point for point in trace["points"] if point["mean"] is not None]
        x, y = [point["forwards"] for point in points], [scale * point["mean"] for point in points]
        axis.plot(x, y, color=color, marker=marker, markersize=3, linewidth=1.2, alpha=0.8)
    error = _error(entry["mean"], entry["interval"], scale)
    axis.errorbar(place, scale * entry["mean"], yerr=error, color=color, marker=marker, label=label, **_POINT)


def _beside_each_other(costs: Sequence[float]) -> list[float]:
    """Move equal costs apart, by a hundredth of the largest each, so that their points do not hide one another."""
    gap = 0.012 * max(costs)
    return [cost + gap * (costs[:i].count(cost) - (costs.count(cost) - 1) / 2) for i, cost in enumerate(costs)]


def _legend_columns(labels: Sequence[str]) -> int:
    longest = max(map(len, labels), default=0) + 6  # with the mark and the space between
    return max(1, min(len(labels), LEGEND_LETTERS // longest))


_POINT: dict[str, Any] = {"markersize": 5.5, "elinewidth": 1.4, "capsize": 3, "linestyle": "none"}


def _rows(
    results: Results,
    pairs: Sequence[tuple[str, str]],
    draw: Callable[[Any, int, Mapping[str, Any], float], None],
    caption: str,
    reference: float,
    limits: tuple[float, float] | None,
) -> str:
    """Draw one row for each pair of methods and one panel for each metric; ``draw`` fills a row."""
    names = list(results["metrics"])
    labels = [
        wording.shown(results, label) + ("" if other == "standard" else f" against {other}") for label, other in pairs
    ]
    with _figure(len(names), height=0.85 + 0.27 * len(pairs)) as (figure, axes):
        for number, (axis, name) in enumerate(zip(axes, names, strict=False)):
            entries = [results["methods"][label]["versus"][other][name] for label, other in pairs]
            for row, entry in enumerate(entries):
                draw(axis, row, entry, results["metrics"][name]["display_scale"])
            axis.axvline(reference, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
            axis.set_title(name + (DAGGER if any(entry["optimised"] for entry in entries) else ""))
            axis.set_yticks(range(len(labels)), labels if number % PANELS_IN_A_ROW == 0 else [""] * len(labels))
            axis.set_ylim(len(labels) - 0.4, -0.6)
            axis.set_xlabel(caption)
            axis.margins(x=0.08)
            axis.locator_params(axis="x", nbins=5 if len(names) < PANELS_IN_A_ROW else 4)
            if limits is not None:
                axis.set_xlim(*limits)
        return _svg(figure, f"{caption}, with 95 % intervals")


def _error(value: float, interval: Sequence[float | None], scale: float) -> list[list[float]] | None:
    low, high = interval
    if low is None or high is None:
        return None
    return [[max(scale * (value - low), 0.0)], [max(scale * (high - value), 0.0)]]


@contextmanager
def _figure(num_panels: int, height: float) -> Iterator[tuple[Any, list[Any]]]:
    """Make a figure with a panel for each metric, without the process-wide state of pyplot."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    colors = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK)
    lines = dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), GRID)
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "report",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
    }
    columns = min(num_panels, PANELS_IN_A_ROW)
    rows = -(-num_panels // columns)
    with mpl.rc_context({**style, **colors, **lines}):
        figure = Figure(figsize=(WIDTH if columns > 1 else 0.62 * WIDTH, rows * height), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axis in axes[num_panels:]:
            axis.set_visible(False)
        yield figure, axes[:num_panels]


def _svg(figure: Any, description: str) -> str:
    """Return the figure as an inline ``<svg>``: no addresses, no fixed size, the page's colours and font."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<style type="text/css">.*?</style>', "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    for color, name in (
        (INK, "currentColor"),
        (GRID, "var(--line)"),
        (BLUE, "var(--blue)"),
        (VERMILLION, "var(--red)"),
    ):
        text = text.replace(color, name)
    head, _, body = text.partition(">")
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    return head.replace("<svg", f'<svg role="img" aria-label="{description}"', 1) + ">" + body
