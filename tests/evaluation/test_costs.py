"""What a picture cost, by hand: which batches are timed, and what several training seeds come to."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from npnet.data.prompts import Sample
from npnet.engine.methods import MethodScores, Trace
from npnet.evaluation.cells import Drawn, Noted
from npnet.evaluation.costs import describe
from npnet.evaluation.gathering import Gathered, seconds_per_image
from npnet.evaluation.plan import make_plan
from npnet.evaluation.results import cost_per_image, make_results, metric_facts
from npnet.noise import Standard
from npnet.noise.runtime.whiteness import MEASURES
from npnet.records import Cost
from tests.evaluation.extra_fakes import Close, config
from tests.evaluation.test_training_seeds import network, networks, results

__all__ = ["networks"]


def chunk(first, *batches):
    return Drawn("cpu", first, Cost(), list(batches))


def test_a_worker_leaves_out_the_first_batch_of_its_first_chunk_and_no_other():
    chunks = [chunk(True, (2, 100.0), (2, 2.0)), chunk(False, (3, 9.0), (3, 3.0)), chunk(True, (1, 50.0), (2, 4.0))]
    assert seconds_per_image(chunks) == pytest.approx((2 + 9 + 3 + 4) / (2 + 3 + 3 + 2))


def test_where_there_is_no_other_batch_the_first_is_timed():
    assert seconds_per_image([chunk(True, (4, 10.0))]) == 2.5


def test_the_seconds_of_several_training_seeds_are_those_of_one(monkeypatch, networks, tmp_path):
    seconds = iter([9.0, 9.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0])  # in all and of its cell, for each label
    monkeypatch.setattr("npnet.evaluation.gathering.seconds_per_image", lambda makings: next(seconds))
    found = results(tmp_path, chunk_size=24, net=network(f"{networks}/{{0..2}}"))
    assert found["methods"]["net"]["cost"]["seconds"] == pytest.approx(1 / 3)


def test_a_picture_costs_its_share_of_each_kind_of_call():
    cost = cost_per_image(MethodScores({}, Cost(forwards=8, backwards=4, scorer_calls=2), [(1, 3.0), (1, 1.0)]))
    assert (cost["forwards"], cost["backwards"], cost["scorer_calls"], cost["seconds"]) == (4.0, 2.0, 1.0, 2.0)


def made(count, method, traces=()):
    """Return the results of one method on 8 prompts."""
    settings = SimpleNamespace(metric={"a": Close()}, noise={"standard": method}, diversity={}, num_resamples=20)
    plan = SimpleNamespace(
        samples=[Sample(i % 8, f"p{i % 8}", i) for i in range(count)],
        members={"standard": ["standard"]},
        settings=settings,
        optimised={"standard": []},
        asked={},
        spaces={},
    )
    scores = MethodScores({"a": [0.5] * count}, batches=[(count, 1.0)], traces=list(traces))
    found = Gathered(
        scores, noted={"a": [Noted([], False)]}, from_pictures={"a": 0}, values=dict.fromkeys(MEASURES, [None] * count)
    )
    return make_results(plan, {"standard": found})


@pytest.mark.parametrize(("count", "smoke"), [(399, True), (400, False)])
def test_fewer_than_400_pairs_are_a_smoke_test_however_few_the_prompts(count, smoke):
    assert made(count, Standard())["smoke"] is smoke


@pytest.mark.parametrize(("scorers", "metric"), [(("a",), "a"), (("a", "b"), None)])
def test_a_search_that_adds_up_several_metrics_is_drawn_beside_none(scorers, metric):
    search = SimpleNamespace(scorers=scorers, is_null_control=False)
    assert made(8, search, [Trace([1.0], [[0.5] * 8])])["methods"]["standard"]["trace"]["metric"] == metric


def test_each_remark_of_a_metric_stands_once_in_its_notes():
    plan = SimpleNamespace(samples=[Sample(0, "p", 0)], settings=SimpleNamespace(metric={"a": Close()}))
    noted = [Noted([], False, remarks=[said]) for said in ("judged by x", "judged by y", "judged by x")]
    found = Gathered(MethodScores({"a": [0.5]}), noted={"a": noted}, from_pictures={"a": 0})
    assert metric_facts(plan, {"standard": found})["a"]["notes"] == ["judged by x", "judged by y"]


def test_workers_without_a_chunk_make_nothing_faster(monkeypatch, tmp_path):
    monkeypatch.setattr("npnet.evaluation.costs.make_run", lambda *given: ("run", []))
    monkeypatch.setattr("npnet.evaluation.costs.wording.describe", lambda run, unit, number, gpu, n: [f"by {n}"])
    for workers, chunk_size, used in ((1, 4, 1), (2, 4, 2), (9, 4, 3), (9, 100, 1)):
        given = config(["a", "b", "c"], 4, workers=workers, chunk_size=chunk_size, output_dir=str(tmp_path))
        assert f"by {used}\n" in describe(make_plan(OmegaConf.create(given))) + "\n"


@pytest.mark.parametrize(("scores", "right_or_wrong"), [([1.0, 0.0], True), ([1.0, 0.5], False)])
def test_a_metric_is_right_or_wrong_where_every_score_is(scores, right_or_wrong):
    plan = SimpleNamespace(samples=[Sample(0, "p", 0)], settings=SimpleNamespace(metric={"a": Close()}))
    found = Gathered(MethodScores({"a": scores}), noted={"a": [Noted([], False)]}, from_pictures={"a": 0})
    assert metric_facts(plan, {"standard": found})["a"]["zero_or_one"] is right_or_wrong
