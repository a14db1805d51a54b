"""Numbers where they are drawn and written: whiskers, lines, pictures, columns."""

import base64
import json
import re

import pytest
from matplotlib.axes import Axes

from npnet.drawing import comparisons, curves, histograms
from npnet.drawing.figures import whiskers
from npnet.report import formats
from npnet.report.markdown import tables


def test_whiskers_reach_to_the_ends_of_the_interval():
    assert whiskers(5.0, [4.0, 8.0], 2.0) == [[2.0], [6.0]]
    assert whiskers(5.0, [None, 8.0]) is None


class Axis:
    """Records what is drawn on it."""

    def __init__(self):
        self.drawn = []

    def __getattr__(self, name):
        return lambda *args, **options: self.drawn.append((name, args, options))


def test_a_searchs_line_goes_from_cost_to_score():
    axis = Axis()
    comparisons._draw_point(axis, "x", 7.0, comparisons.Point(3.0, [2.0, 4.0], [(1.0, 10.0), (2.0, 20.0)]), {})
    (_, line, _), (_, point, options) = axis.drawn
    assert line == ((1.0, 2.0), (10.0, 20.0))
    assert point == (7.0, 3.0)
    assert options["yerr"] == [[1.0], [1.0]]


def test_a_series_has_its_low_end_below(monkeypatch, tmp_path):
    axis = Axis()
    panels = [curves.SeriesPanel("m", [curves.Series("x", [(0, 5.0, 4.0, 8.0)])])]

    def spy(self, *args, **options):
        axis.errorbar(*args, **options)
        return real(self, *args, **options)

    real = Axes.errorbar
    monkeypatch.setattr(Axes, "errorbar", spy)
    curves.plot_series(tmp_path / "x.png", ["a"], "a", panels, None)
    assert axis.drawn[0][2]["yerr"] == [[1.0], [3.0]]


def test_kept_pairs_are_the_coloured_bars(monkeypatch):
    axis = Axis()

    def spy(self, *args, **options):
        axis.hist(*args, **options)
        return real(self, *args, **options)

    real = Axes.hist
    monkeypatch.setattr(Axes, "hist", spy)
    histograms.plot_histograms([histograms.Gains("m", [(0.1, True), (-0.1, False), (-0.2, False)])])
    ((_, (values, _), options),) = axis.drawn
    assert [len(v) for v in values] == [1, 2]
    assert options["label"] == ["kept, 1 of 3", "rejected"]
    assert options["color"][0] == comparisons.BLUE


def test_the_picture_over_a_methods_name_is_that_methods(finished):
    page = (finished / "report.html").read_text()
    found = re.findall(r'<img src="data:image/webp;base64,([^"]*)"[^>]*>\s*<figcaption><strong>([^<]*)</strong>', page)
    assert {label for _, label in found} == {"standard", "redraw", "best"}
    for data, label in found:
        files = {path.read_bytes() for path in (finished / "images" / label).iterdir()}
        assert base64.b64decode(data) in files


def test_markdown_has_gains_in_the_table_of_gains_and_rates_in_that_of_rates(finished):
    results = json.loads((finished / "results.json").read_text())
    text = tables(results)
    for title, key, scale in (("Mean gain", "mean_difference", 1), ("Winning rate", "winning_rate", 100)):
        part = next(p for p in text.split("\n\n**") if p.startswith(title))
        row = next(line for line in part.splitlines() if line.startswith("| redraw"))
        written = float(row.split("|")[2].split()[0].replace(formats.MINUS, "-"))
        entry = results["methods"]["redraw"]["versus"]["standard"]["target"]
        assert written == pytest.approx(scale * entry[key], abs=0.06)
        assert ("%" in row) == (key == "winning_rate")


@pytest.mark.parametrize(("value", "text"), [(0.0009, "< 0.001"), (0.001, "0.001"), (0.0042, "0.0042"), (0.25, "0.25")])
def test_only_what_the_resamples_cannot_tell_is_written_as_less_than(value, text):
    assert formats.p_text(value) == text
