"""A row's and a plot's numbers are those of its own name in the results, on the scale of its metric."""

import json
import re
from pathlib import Path

import pytest

from npnet.report import diversity, formats, plots, sweep, wording
from npnet.report.frontier import to_markdown

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
    return [float(part) for part in re.findall(r"-?[\d.]+", text.replace(formats.MINUS, "-"))]


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


@pytest.mark.parametrize(
    ("p_value", "text"), [(0.0004, "< 0.001"), (0.004, "0.004"), (0.0423, "0.042"), (0.5, "0.50"), (None, formats.NONE)]
)
def test_a_p_value_is_written_as_it_is(p_value, text):
    assert formats.p_text(p_value) == text


def test_how_near_a_rate_is_known_follows_from_the_prompts(results):
    results |= {"smoke": True, "num_pairs": 400, "num_prompts": 100}
    assert "about 10 points" in wording.banner(results)


def test_each_measure_of_diversity_stands_in_its_own_column(results):
    own = results["methods"]["best"]["diversity"]["pixels"]
    own["distance"] |= {"mean": 0.2, "share": 0.25, "share_interval": [0.2, 0.3]}
    own["vendi"] |= {"mean": 3.25, "share": 0.5, "share_interval": [0.4, 0.6]}
    rows = [dict(zip(diversity.heading(results), row, strict=True)) for row in diversity.rows(results)]
    first, second = [place for place, name in enumerate(diversity.heading(results)) if name.startswith("% of")]
    row = diversity.rows(results)[next(i for i, row in enumerate(rows) if row["method"] == "best")]
    assert numbers(row[first]) == [25, 20, 30] and numbers(row[second]) == [50, 40, 60]
    assert "| 3.25 |" in to_markdown(results, ["target"])


def test_the_method_that_the_others_are_compared_with_differs_from_itself_by_nothing(results):
    place = diversity.heading(results).index("difference")
    rows = {row[0]: row for row in diversity.rows(results)}
    assert rows["standard"][place] == formats.NONE != rows["redraw"][place]
