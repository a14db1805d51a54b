import json
import math
from types import SimpleNamespace

import pytest

from npnet.data.prompts import Sample
from npnet.engine.methods import MethodScores, Trace
from npnet.evaluation import images_results
from npnet.evaluation.comparison import compare_methods
from npnet.evaluation.results import cost_per_image, join_traces, merge, plain
from npnet.metrics import statistics
from npnet.metrics.base import SoftmaxPreference
from npnet.records import Cost
from tests.evaluation.extra_fakes import Close

COMPARISON_KEYS = {
    *("count", "num_prompts", "winning_rate", "ties", "interval", "mean_difference", "difference_interval", "p_value")
}


def load(folder):
    return json.loads((folder / "results.json").read_text())


def test_results_hold_the_keys_of_the_contract(finished):
    results = load(finished)
    assert results["schema_version"] == 1
    assert (results["num_pairs"], results["num_prompts"], results["smoke"]) == (24, 12, True)
    assert list(results["methods"]) == ["standard", "redraw", "best"]
    for label, method in results["methods"].items():
        assert {"forwards", "backwards", "scorer_calls", "seconds", "peak_bytes"} <= set(method["cost"])
        assert list(method["metrics"]) == ["target", "close"]
        for entry in method["metrics"].values():
            assert {"mean", "interval", "count", "display_scale", "optimised"} <= set(entry)
            assert entry["interval"][0] <= entry["mean"] <= entry["interval"][1]
            assert entry["count"] == 24
        comparisons = [*method["versus"].values()]
        assert ("versus_standard" in method) == (label != "standard")
        comparisons += [method["versus_standard"]] if label != "standard" else []
        assert set(method["versus"]) == set(results["methods"]) - {label}
        for comparison in comparisons:
            assert list(comparison) == ["target", "close"]
            for entry in comparison.values():
                assert set(entry) >= COMPARISON_KEYS
                assert (entry["count"], entry["num_prompts"]) == (24, 12)
                assert len(entry["interval"]) == len(entry["difference_interval"]) == 2


def test_a_searched_metric_is_marked_for_its_method_alone(finished):
    methods = load(finished)["methods"]
    marked = {(label, name) for label, m in methods.items() for name, e in m["metrics"].items() if e["optimised"]}
    assert marked == {("best", "target")}
    assert methods["best"]["versus_standard"]["target"]["optimised"]
    assert methods["redraw"]["versus"]["best"]["target"]["optimised"]
    assert not methods["redraw"]["versus_standard"]["target"]["optimised"]


def test_a_search_is_never_worse_on_what_it_searches_with_than_its_start(finished):
    methods = load(finished)["methods"]
    points = methods["best"]["trace"]["points"]
    assert methods["best"]["trace"]["metric"] == "target"
    assert [point["forwards"] for point in points] == [4.0, 8.0, 12.0]
    assert points[0]["mean"] <= points[1]["mean"] <= points[2]["mean"]
    assert all(point["count"] == 24 and len(point["interval"]) == 2 for point in points)


def test_the_two_directions_of_a_comparison_agree(finished):
    methods = load(finished)["methods"]
    one, other = methods["best"]["versus"]["redraw"]["target"], methods["redraw"]["versus"]["best"]["target"]
    assert (one["wins"], one["losses"]) == (other["losses"], other["wins"])
    assert one["mean_difference"] == pytest.approx(-other["mean_difference"])
    assert one["p_value"] == pytest.approx(other["p_value"])


def record(*rows):
    return [MethodScores({name: list(row) for name, row in zip(("a", "b"), rows, strict=False)})]


def test_p_values_are_corrected_across_the_metrics_of_a_comparison():
    prompts = [f"p{i}" for i in range(10)]
    first, second = [0.1 * i for i in range(10)], [1.0, -0.5, 0.2, 0.4, -0.1, 0.3, 0.2, 0.9, 0.8, -0.7]
    records = {"standard": record([0.0] * 10, [0.0] * 10), "new": record(first, second)}
    family = compare_methods(records, prompts, {"a": Close(), "b": Close()}, {})["new"]["versus_standard"]
    raw = [c.p_value for c in statistics.compare([first, second], [[0.0] * 10] * 2, prompts)]
    assert [family[name]["p_value"] for name in ("a", "b")] == pytest.approx(statistics.holm(raw))
    assert family["a"]["p_value"] > raw[0]


def test_better_is_said_from_the_difference_and_not_from_the_strict_winning_rate():
    prompts = [f"p{i}" for i in range(60)]
    old, new = [1.0] * 40 + [0.0] * 20, [1.0] * 40 + [1.0] * 20
    entry = compare_methods({"standard": record(old), "new": record(new)}, prompts, {"a": Close()}, {})
    found = entry["new"]["versus_standard"]["a"]
    assert found["winning_rate"] == pytest.approx(1 / 3)
    assert found["ties"] == pytest.approx(2 / 3)
    assert found["verdict"] == "better"
    assert entry["standard"]["versus"]["new"]["a"]["verdict"] == "worse"
    same = compare_methods({"standard": record(old), "new": record(old)}, prompts, {"a": Close()}, {})
    assert same["new"]["versus_standard"]["a"]["verdict"] == "undecided"


def test_without_standard_there_is_no_comparison_with_it():
    entry = compare_methods({"x": record([1.0, 2.0]), "y": record([0.0, 3.0])}, ["a", "b"], {"a": Close()}, {}, 100)
    assert "versus_standard" not in entry["x"]
    assert set(entry["x"]["versus"]) == {"y"}
    alone = compare_methods({"x": record([1.0, 2.0])}, ["a", "b"], {"a": Close()}, {}, 100)
    assert alone["x"]["versus"] == {}


def test_a_pairwise_metric_gives_the_mean_preference():
    class Pairwise(SoftmaxPreference, Close):
        pairwise = True

    records = {"x": record([1.0, 2.0]), "y": record([0.0, 4.0])}
    methods = compare_methods(records, ["a", "b"], {"a": Pairwise()}, {}, 100)
    ours, theirs = methods["x"]["versus"]["y"]["a"]["preference"], methods["y"]["versus"]["x"]["a"]["preference"]
    assert ours["mean"] == pytest.approx((1 / (1 + math.exp(-1)) + 1 / (1 + math.exp(2))) / 2)
    assert ours["mean"] + theirs["mean"] == pytest.approx(1)
    assert "preference" not in compare_methods(records, ["a", "b"], {"a": Close()}, {}, 100)["x"]["versus"]["y"]["a"]


def test_joined_records_keep_the_order_of_the_samples_and_add_up_the_costs():
    parts = [
        MethodScores({"a": [1.0, 2.0]}, Cost(4, 1, 2), [(2, 0.5)], 100),
        MethodScores({"a": [3.0]}, Cost(2, 0, 1), [(1, 0.1)], 300),
    ]
    joined = merge(parts)
    assert joined.scores == {"a": [1.0, 2.0, 3.0]}
    assert joined.cost == Cost(6, 1, 3)
    cost = cost_per_image(joined)
    assert cost == {**cost, "forwards": 2.0, "scorer_calls": 1.0, "seconds": pytest.approx(0.2), "peak_bytes": 300}


def test_a_search_that_ended_early_keeps_its_last_score_in_the_trace():
    traces = [Trace([2.0, 4.0, 6.0], [[0.0], [1.0], [2.0]]), Trace([3.0, 4.0], [[5.0], [6.0]])]
    points = join_traces(traces, ["a", "b"], 100)
    assert [(p["forwards"], p["mean"]) for p in points] == [(3.0, 2.5), (4.0, 3.5), (6.0, 4.0)]
    assert join_traces([], ["a"], 100) == []


def test_numbers_that_json_lacks_become_null():
    assert plain({"a": [float("nan"), float("inf"), 1 / 3]}) == {"a": [None, None, 0.3333333333]}


def test_a_sample_is_named_by_prompt_number_and_seed():
    assert Sample(3, "x", 7).key == "0000003-0000000007"


def test_the_sign_test_stands_beside_the_other_p_value_and_is_not_corrected():
    gains = [5.0] * 7 + [-1.0] * 3
    records = {"standard": record([0.0] * 10, [0.0] * 10), "new": record(gains, gains)}
    prompts = [f"p{i}" for i in range(10)]
    family = compare_methods(records, prompts, {"a": Close(), "b": Close()}, {})["new"]["versus_standard"]
    assert family["a"]["sign_test_p_value"] == pytest.approx(2 * (1 + 10 + 45 + 120) / 2**10)  # 0 to 3 losses of 10


def test_the_pictures_of_others_count_those_that_have_a_score():
    pictures = [SimpleNamespace(prompt=prompt, is_rotated=False) for prompt in "abc"]
    metrics = {"m": SimpleNamespace(display_scale=1.0, text_length=None)}
    asked = {"num_resamples": 100}
    found = images_results.make_results(asked, pictures, metrics, {"m": [1.0, None, 3.0]}, {"m": []})
    entry = found["methods"][images_results.LABEL]["metrics"]["m"]
    assert (entry["mean"], entry["count"], entry["missing"]) == (2.0, 2, 1)
