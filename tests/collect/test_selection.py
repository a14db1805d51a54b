import math

import pytest

from collect.selection import KEPT, NOT_FINITE, Selection


def reason(scores, **options):
    return Selection(**options).reject_reason(scores)


@pytest.mark.parametrize(
    ("source", "golden", "margin", "kept"),
    [
        (0.25, 0.5, 0.0, True),
        (0.5, 0.5, 0.0, False),
        (0.5, 0.25, 0.0, False),
        (0.25, 0.5, 0.25, False),
        (0.25, 0.51, 0.25, True),
        (-3.0, -2.0, 0.5, True),
        (0.5, 0.25, -0.5, True),
    ],
)
def test_a_pair_is_kept_when_golden_is_strictly_above_source_and_margin(source, golden, margin, kept):
    assert (reason({"a": (source, golden)}, margin=margin) == KEPT) == kept


def test_all_metrics_must_agree_and_the_reason_names_those_that_do_not():
    assert reason({"a": (0, 1), "b": (0, 1)}) == KEPT
    assert reason({"a": (0, 1), "b": (1, 0)}) == "not better: b"
    assert reason({"a": (1, 0), "b": (1, 1)}) == "not better: a, b"


def test_a_weighted_sum_lets_one_metric_outvote_another():
    scores = {"a": (0.0, 1.0), "b": (1.0, 0.5)}
    assert reason(scores, rule="weighted") == KEPT
    assert reason(scores, rule="weighted", weights={"b": 2.0}) == "not better: weighted sum"
    assert reason(scores, rule="weighted", weights={"b": 1.5}, margin=0.2) == KEPT
    assert reason(scores, rule="weighted", weights={"b": 1.5}, margin=0.25) == "not better: weighted sum"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", ["all", "weighted"])
def test_a_score_that_is_not_finite_rejects(rule, value):
    assert reason({"a": (0.0, 1.0), "b": (0.0, value)}, rule=rule) == NOT_FINITE
    assert reason({"a": (value, 1.0)}, rule=rule) == NOT_FINITE


def test_metrics_without_weight_do_not_select():
    assert Selection("weighted", 0.0, {"b": 0.0}).selected_by(["a", "b"]) == ["a"]
    assert Selection("all").selected_by(["a", "b"]) == ["a", "b"]
