"""A row's and a plot's numbers are those of its own name in the results, on the scale of its metric."""

import json
import re
from pathlib import Path

import pytest

from npnet.report import plots, sweep, wording

PAIR = [("redraw", "standard")]


@pytest.fixture
def results(finished):
    """Results in which every number of a comparison is another."""
    found = json.loads((finished / "results.json").read_text())
    found["methods"]["redraw"]["versus"]["standard"]["target"] |= {
        "mean_difference": 2.0,
        "difference_interval": [1.0, 5.0],
        "winning_rate": 0.6,
        "interval": [0.3, 0.8],
    }
    found["metrics"]["target"]["display_scale"] = 10.0
    return found


def numbers(text):
    return [float(part) for part in re.findall(r"-?[\d.]+", text.replace(wording.MINUS, "-"))]


def test_a_gain_stands_with_its_own_interval_and_a_rate_with_its_own(results):
    row = next(row for row in wording.comparison_rows(results, PAIR) if row.metric == "target")
    assert numbers(row.gain) == [20.0, 10.0, 50.0]
    assert numbers(row.winning_rate) == [60.0, 30.0, 80.0]


def test_a_gain_is_drawn_with_its_own_interval_and_a_rate_with_its_own(results, monkeypatch):
    drawn = {}
    monkeypatch.setattr(plots, "draw_gains", lambda labels, panels: drawn.update(gain=panels[0].entries[0]))
    monkeypatch.setattr(plots, "plot_shares", lambda labels, panels: drawn.update(rate=panels[0].entries[0]))
    plots.plot_gains(results, PAIR)
    plots.plot_winning_rates(results, PAIR)
    assert (drawn["gain"].mean, list(drawn["gain"].interval)) == (20.0, [10.0, 50.0])
    assert (drawn["rate"].wins, list(drawn["rate"].interval)) == (0.6, [0.3, 0.8])


def test_a_point_of_a_sweep_has_its_mean_then_its_low_then_its_high_end(results):
    results["methods"]["redraw"]["metrics"]["target"] |= {"mean": 2.0, "interval": [1.0, 5.0]}
    panel = sweep._panel([sweep.Run(Path("x"), results, {})], "target")
    series = next(series for series in panel.series if series.label == "redraw")
    assert list(series.points) == [(0, 20.0, 10.0, 50.0)]


def test_each_kind_of_cost_stands_in_its_own_column(results):
    results["methods"]["redraw"]["cost"] |= {"forwards": 3, "backwards": 5, "scorer_calls": 7, "peak_bytes": 2**31}
    row = next(row for row in wording.score_rows(results) if row.method == "redraw")
    assert (row.forwards, row.backwards, row.scorer_calls, row.peak) == ("3", "5", "7", "2 GiB")


def test_a_searchs_line_is_drawn_on_the_scale_of_its_metric(results, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "plot_cost", lambda labels, costs, panels: drawn.extend(panels))
    plots.plot_score_against_cost(results)
    place = list(results["methods"]).index("best")
    points = results["methods"]["best"]["trace"]["points"]
    assert list(drawn[0].entries[place].line) == [(p["forwards"], 10.0 * p["mean"]) for p in points]
