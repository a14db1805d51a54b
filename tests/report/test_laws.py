"""What the report says is what the numbers say: which way round, by how much, and whether it is decided."""

import copy
import json
import re

import numpy as np
import pytest

from npnet.drawing.comparisons import Gain, Panel, Shares, plot_gains, plot_shares
from npnet.engine.methods import MethodScores
from npnet.evaluation.comparison import compare_methods
from npnet.report import formats, plots, wording
from tests.evaluation.extra_fakes import Close

PROMPTS = [f"prompt {number}" for number in range(20)]


@pytest.fixture
def results(finished):
    return json.loads((finished / "results.json").read_text())


# --- decided or not --------------------------------------------------------------------------------------------------


def verdicts(num_metrics, sign=1.0):
    """The verdicts on ``num_metrics`` copies of one metric, of a difference whose uncorrected p is about 0.03."""
    gains = sign * np.array([0.9, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1] + [-0.25] * 6)
    metrics = {f"m{number}": Close() for number in range(num_metrics)}
    records = {
        "standard": [MethodScores({name: [0.0] * 20 for name in metrics})],
        "ours": [MethodScores({name: gains.tolist() for name in metrics})],
    }
    found = compare_methods(records, PROMPTS, metrics, {}, 2000)["ours"]["versus_standard"]
    return list(found.values())


@pytest.mark.parametrize(("sign", "word"), [(1.0, "better"), (-1.0, "worse")])
def test_a_verdict_counts_the_p_value_that_is_corrected_for_the_number_of_metrics(sign, word):
    (alone,) = verdicts(1, sign)
    assert 0.005 < alone["p_value"] < 0.05
    assert alone["verdict"] == word
    for entry in verdicts(8, sign):
        assert entry["p_value"] > 0.05
        assert np.prod(entry["difference_interval"]) > 0, "the interval alone would decide"
        assert entry["verdict"] == "undecided"


def test_the_words_follow_the_verdict(results):
    pair = [("redraw", "standard")]
    entries = results["methods"]["redraw"]["versus"]["standard"]
    for verdict, words in (("better", "better on"), ("worse", "worse on"), ("undecided", "no clear difference on")):
        for entry in entries.values():
            entry["verdict"] = verdict
        assert {row.verdict for row in wording.comparison_rows(results, pair)} == {verdict}
        sentence = next(s for s in wording.in_short(results) if s.startswith("redraw"))
        assert sentence.startswith(f"redraw: {words} target")


# --- costs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("own", "standard", "times"), [(30, 10, "3.00"), (10, 20, "0.50"), (7, 7, "1.00")])
def test_times_the_forwards_is_the_methods_share_of_standards(results, own, standard, times):
    results["methods"]["redraw"]["cost"]["forwards"] = own
    results["methods"]["standard"]["cost"]["forwards"] = standard
    sentence = next(s for s in wording.in_short(results) if s.startswith("redraw"))
    assert sentence.endswith(f", at {times} times the denoiser forwards.")


def test_a_search_costs_more_than_standard_and_the_page_says_so(finished):
    page = (finished / "report.html").read_text()
    times = float(re.search(r"<li>best: .*?at ([\d.]+) times the denoiser forwards", page)[1])
    assert times > 1.5


# --- pictures --------------------------------------------------------------------------------------------------------


def strip(page, method, side):
    """The remarks' numbers of a strip, and the two numbers under each of its pairs of pictures."""
    part = re.split(r"<h3>", page[page.index(f"{method}: the ") :])
    part = next(p for p in part if p.startswith(f"{method}: the ") and f"largest {side} in" in p)
    remarks = [number(text) for text in re.findall(r'<p class="remark">target†? ([^<]*)</p>', part)]
    figures = re.findall(r"<figcaption><strong>([^<]*)</strong>\s*<span class=\"score\">target <b>([^<]*)</b>", part)
    scores = [(label.replace("\u200b", ""), number(text)) for label, text in figures]
    return remarks, scores


def number(text):
    return float(text.replace(formats.MINUS, "-"))


def differences(folder, method):
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    scores = {
        label: [line["scores"]["target"] for line in lines if line["method"] == label] for label in (method, "standard")
    }
    return np.subtract(scores[method], scores["standard"])


def test_the_largest_gains_are_gains_and_the_largest_losses_are_losses(finished):
    page = (finished / "report.html").read_text()
    gains, shown = strip(page, "redraw", "gains")
    losses, _ = strip(page, "redraw", "losses")
    found = differences(finished, "redraw")
    assert found.max() > 0 > found.min()
    assert abs(found.max() + found.min()) > 0.01 * np.ptp(found), "no test if both ends are alike"
    close = 0.002 * np.ptp(found)
    assert gains[0] == pytest.approx(found.max(), abs=close)
    assert losses[0] == pytest.approx(found.min(), abs=close)
    assert gains == sorted(gains, reverse=True)
    assert losses == sorted(losses)
    assert min(gains) >= max(losses)
    for place, gain in enumerate(gains):
        (first, before), (second, after) = shown[2 * place : 2 * place + 2]
        assert (first, second) == ("standard", "redraw")
        assert after - before == pytest.approx(gain, abs=2 * close)


# --- plots -----------------------------------------------------------------------------------------------------------


def bars(svg):
    """Colour -> (left, width) of each bar, top to bottom."""
    found = {}
    for d, style in re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', svg):
        color = re.search(r"fill: (var\(--blue\)|var\(--red\)|#7f7f7f)", style)
        places = [float(x) for x in re.findall(r"[ML] ([-\d.]+) [-\d.]+", d)]
        if color and "opacity" in style and len(places) >= 4:
            found.setdefault(color[1], []).append((min(places), max(places) - min(places)))
    return found


def check_shares(svg, wins, ties):
    found = bars(svg)
    (blue_left, blue), (grey_left, grey), (red_left, red) = (
        found[color][0] for color in ("var(--blue)", "#7f7f7f", "var(--red)")
    )
    whole = blue + grey + red
    assert (blue / whole, grey / whole, red / whole) == pytest.approx((wins, ties, 1 - wins - ties), abs=0.01)
    assert blue_left < grey_left < red_left


def test_wins_are_blue_and_on_the_left_losses_orange_and_on_the_right():
    check_shares(plot_shares(["x"], [Panel("m", [Shares(0.7, 0.1, [0.6, 0.8])])]), 0.7, 0.1)


def test_the_bars_are_those_of_the_results(results):
    entry = results["methods"]["redraw"]["versus"]["standard"]["target"]
    entry |= {"winning_rate": 0.2, "ties": 0.1, "interval": [0.1, 0.3], "wins": 2, "losses": 7}
    results["metrics"] = {"target": results["metrics"]["target"]}
    check_shares(plots.plot_winning_rates(results, [("redraw", "standard")]), 0.2, 0.1)


def test_a_better_method_is_a_blue_circle_right_of_the_line_and_a_worse_one_an_orange_square_left_of_it(results):
    entries = results["methods"]["redraw"]["versus"]["standard"]
    for name, verdict, gain in (("target", "better", 2.0), ("close", "worse", -2.0)):
        entries[name] |= {"verdict": verdict, "mean_difference": gain, "difference_interval": [gain - 1, gain + 1]}
    for name, color, is_right in (("target", "var(--blue)", True), ("close", "var(--red)", False)):
        alone = copy.deepcopy(results)
        alone["metrics"] = {name: results["metrics"][name]}
        svg = plots.plot_gains(alone, [("redraw", "standard")])
        assert color in svg
        assert {"var(--blue)": "var(--red)", "var(--red)": "var(--blue)"}[color] not in svg
        line = float(re.search(r'<path d="M ([\d.]+) [\d.]+ *\nL \1 [\d.]+ *\n"[^>]*stroke-dasharray: 3', svg)[1])
        marker = [
            float(x) for x in re.findall(r'<use href="#[^"]*" x="([\d.]+)"[^>]*style="fill: var\(--(?:blue|red)', svg)
        ]
        assert marker
        assert all((x > line) == is_right for x in marker)


def test_a_gain_is_drawn_at_the_metrics_display_scale():
    small, large = (plot_gains(["x"], [Panel("m", [Gain(v, [v - 1, v + 1], "better")])]) for v in (2.0, 200.0))
    assert ">200" in large
    assert ">200" not in small
