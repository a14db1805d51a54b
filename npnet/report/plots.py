"""The report's plots: winning rates, gains and costs, taken from the results and handed to ``drawing``."""

from __future__ import annotations

from collections.abc import Sequence

from npnet.drawing.comparisons import Gain, Panel, Point, Shares, plot_cost, plot_shares
from npnet.drawing.comparisons import plot_gains as draw_gains
from npnet.evaluation.contract import MethodResults, Results, Versus
from npnet.report import wording
from npnet.report.wording import DAGGER

Pairs = Sequence[tuple[str, str]]


def plot_winning_rates(results: Results, pairs: Pairs) -> str:
    """Draw the share of wins, ties and losses of each pair of methods, a panel for each metric, in percent."""
    panels = [
        Panel(
            _title(results, name, pairs),
            [Shares(e["winning_rate"], e["ties"], e["interval"]) for e in _entries(results, name, pairs)],
        )
        for name in results["metrics"]
    ]
    return plot_shares(_labels(results, pairs), panels)


def plot_gains(results: Results, pairs: Pairs) -> str:
    """Draw the mean gain of each pair of methods with its interval, a panel for each metric."""
    panels = []
    for name, facts in results["metrics"].items():
        scale = facts["display_scale"]
        gains = [
            Gain(
                _times(e["mean_difference"], scale),
                [_times(end, scale) for end in e["difference_interval"]],
                e["verdict"],
            )
            for e in _entries(results, name, pairs)
        ]
        panels.append(Panel(_title(results, name, pairs), gains))
    return draw_gains(_labels(results, pairs), panels)


def plot_score_against_cost(results: Results) -> str:
    """Draw mean score against denoiser forwards of a picture; lines are searches, their best score as they spend."""
    methods = results["methods"]
    marks = [DAGGER if any(entry["optimised"] for entry in m["metrics"].values()) else "" for m in methods.values()]
    labels = [wording.shown(results, label) + mark for label, mark in zip(methods, marks, strict=True)]
    panels = []
    for name, facts in results["metrics"].items():
        marked = any(method["metrics"][name]["optimised"] for method in methods.values())
        points = [_point(method, name, facts["display_scale"]) for method in methods.values()]
        panels.append(Panel(name + (f" ({DAGGER} for some)" if marked else ""), points))
    return plot_cost(labels, [method["cost"]["forwards"] for method in methods.values()], panels)


def _point(method: MethodResults, name: str, scale: float) -> Point:
    """Return one method's point, and the line of its search where it searched with this metric."""
    entry, trace = method["metrics"][name], method.get("trace")
    line = []
    if trace is not None and trace["metric"] == name:
        line = [(p["forwards"], scale * p["mean"]) for p in trace["points"] if p["mean"] is not None]
    return Point(_times(entry["mean"], scale), [_times(end, scale) for end in entry["interval"]], line)


def _labels(results: Results, pairs: Pairs) -> list[str]:
    return [
        wording.shown(results, label) + ("" if other == "standard" else f" against {other}") for label, other in pairs
    ]


def _entries(results: Results, name: str, pairs: Pairs) -> list[Versus]:
    return [results["methods"][label]["versus"][other][name] for label, other in pairs]


def _title(results: Results, name: str, pairs: Pairs) -> str:
    return name + (DAGGER if any(entry["optimised"] for entry in _entries(results, name, pairs)) else "")


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value
