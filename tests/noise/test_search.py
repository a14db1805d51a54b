"""Laws of everything that scores noises: the budget, the best so far, best of N, zero-order search."""

import math

import pytest
import torch

from npnet import seeding
from npnet.errors import UserError
from npnet.noise import BestOfN, ZeroOrderSearch
from npnet.noise.runtime.search import Search
from npnet.noise.runtime.zero_order_search import neighbour
from npnet.noise.search import Budget
from tests.noise import linear
from tests.noise.scorers import Listed, Ramp, load

STEPS, SCALE = 2, 3.0
COST = 2 * STEPS
NAN = math.nan


@pytest.fixture(scope="module")
def backbone():
    return linear.of_kind()


def run(method, backbone, seeds=(1, 2)):
    noise = linear.noise_of(backbone, seeds)
    conditioning = backbone.encode(linear.PROMPTS[: len(seeds)])
    return noise, method(noise, conditioning, backbone, seeding.streams(seeds, "search"))


def candidates(noise, count, seeds=(1, 2)):
    """The noises best of N tries, drawn here once more."""
    generators = seeding.streams(seeds, "search")
    return [noise, *(seeding.randn_like(noise, generators) for _ in range(count - 1))]


# --- the best so far -------------------------------------------------------------------------------------------------


def test_the_best_so_far_never_falls_and_the_first_of_equals_stays():
    noises = [torch.full((2, 1, 1, 1), float(i)) for i in range(4)]
    search = Search(noises[0], Budget(), "test", 4)
    for noise, score in zip(noises, ([0.1, 0.5], [0.3, 0.5], [0.2, 0.4], [0.3, 0.6]), strict=True):
        search.record(noise, torch.tensor(score), 3)
    assert search.best.flatten().tolist() == [1.0, 3.0]
    assert [point.score.tolist() for point in search.trace] == [
        pytest.approx(row) for row in ([0.1, 0.5], [0.3, 0.5], [0.3, 0.5], [0.3, 0.6])
    ]
    assert [point.forwards for point in search.trace] == [3, 6, 9, 12]


def test_a_score_that_is_not_a_number_never_wins():
    noise = torch.zeros(1, 1, 1, 1)
    search = Search(noise, Budget(), "test", 3)
    for index, score in enumerate([NAN, 0.2, NAN]):
        search.record(noise + index, torch.tensor([score]), 1)
    assert search.best.item() == 1
    assert search.score.item() == pytest.approx(0.2)


def test_where_nothing_scores_the_given_noise_is_the_result(backbone):
    method = load(BestOfN(STEPS, SCALE, "m", 2), backbone, m=Listed([NAN, NAN], [NAN, NAN]))
    noise, result = run(method, backbone)
    assert torch.equal(result.noise, noise)


def test_a_round_can_concern_some_samples_only():
    search = Search(torch.zeros(3, 1, 1, 1), Budget(), "test", 2)
    search.record(torch.ones(2, 1, 1, 1), torch.tensor([1.0, 2.0]), 1, [0, 2])
    assert search.best.flatten().tolist() == [1, 0, 1]
    assert search.score.tolist() == [1, -math.inf, 2]


def test_a_long_search_says_how_far_it_is(caplog, monkeypatch):
    caplog.set_level("INFO", "npnet")
    monkeypatch.setattr("npnet.noise.runtime.search.LINE_SECONDS", 0.0)
    search = Search(torch.zeros(2, 1, 1, 1), Budget(forwards=85), "reno", 50, 8)
    search.record(torch.zeros(2, 1, 1, 1), torch.tensor([0.25, 0.75]), 8)
    assert "reno: round 1 of 10 on 2 samples, 8 forwards each, 0 s, up to 0 s left" in caplog.text
    assert search.line(12.0).endswith("12 s, up to 1 min 48 s left, best score 0.5 on average")


# --- the budget ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("forwards", "rounds"), [(1, 0), (COST - 1, 0), (COST, 1), (3 * COST + 1, 3), (1000, 5)])
def test_a_budget_of_forwards_is_never_exceeded_and_the_cost_is_foretold(backbone, forwards, rounds):
    method = load(BestOfN(STEPS, SCALE, "m", 5, budget={"forwards": forwards}), backbone, m=Ramp())
    before = backbone.cost
    noise, result = run(method, backbone)
    assert (backbone.cost - before).forwards == 2 * rounds * COST
    assert method.method.forwards(backbone) == rounds * COST
    if rounds == 0:
        assert torch.equal(result.noise, noise)
        assert not result.trace


def test_methods_are_compared_at_equal_cost_by_one_budget(backbone):
    spent = []
    for method in (
        BestOfN(STEPS, SCALE, "m", 100, budget={"forwards": 20}),
        ZeroOrderSearch(STEPS, SCALE, "m", 10, 10, budget={"forwards": 20}),
    ):
        before = backbone.cost
        run(load(method, backbone, m=Ramp().load()), backbone)
        spent.append((backbone.cost - before).forwards)
    assert spent == [40, 40]


def test_a_budget_of_seconds_stops_between_rounds(backbone, monkeypatch):
    clock = iter(range(0, 10_000, 3))
    monkeypatch.setattr("npnet.noise.runtime.search.time.monotonic", lambda: float(next(clock)))
    method = load(BestOfN(STEPS, SCALE, "m", 100, budget={"seconds": 20}), backbone, m=Ramp())
    _, result = run(method, backbone)
    assert 1 <= len(result.trace) <= 3
    assert method.method.forwards(backbone) is None


def test_a_round_that_would_end_after_the_seconds_is_not_begun(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("npnet.noise.runtime.search.time.monotonic", lambda: now[0])
    noise = torch.zeros(1, 1, 1, 1)
    search = Search(noise, Budget(seconds=20), "test", 9)
    for round_begins, affords in ((0.0, True), (9.0, True), (18.0, False)):  # each takes 9 seconds
        now[0] = round_begins
        assert search.affords(1) == affords
        now[0] += 9.0
        search.record(noise, torch.zeros(1), 1)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"forward": 3}, "did you mean 'forwards'"),
        ({"seconds": -1}, "budget.seconds=-1"),
        ({"forwards": NAN}, "nan"),
        ({"forwards": 0}, "budget.forwards=0"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(budget, words):
    with pytest.raises(UserError, match=words):
        BestOfN(STEPS, SCALE, "m", budget=budget)


# --- scorers ---------------------------------------------------------------------------------------------------------


def test_several_scorers_are_added_with_their_weights(backbone):
    method = BestOfN(STEPS, SCALE, {"a": 2.0, "b": 0.5}, 2)
    assert method.scorers == ("a", "b")
    method = load(method, backbone, a=Listed([1.0, 0.0], [0.0, 1.0]), b=Listed([0.0, 2.0], [5.0, 1.0]))
    _, result = run(method, backbone)
    assert [point.score.tolist() for point in result.trace] == [[2.0, 1.0], [2.5, 2.5]]


def test_a_list_of_scorers_weighs_them_alike():
    assert BestOfN(STEPS, SCALE, ["a", "b"]).weights == {"a": 1.0, "b": 1.0}


def test_a_missing_scorer_is_named(backbone):
    with pytest.raises(UserError, match="scorer=hpsv: .*did you mean 'hpsv2'"):
        load(BestOfN(STEPS, SCALE, "hpsv"), backbone, hpsv2=Ramp())
    with pytest.raises(UserError, match=r"scorer=\[\]: a text .*is needed"):
        BestOfN(STEPS, SCALE, [])


# --- best of N -------------------------------------------------------------------------------------------------------


def test_one_candidate_is_the_standard_noise_and_costs_nothing(backbone):
    method = load(BestOfN(STEPS, SCALE, "m", 1), backbone, m=Ramp())
    before = backbone.cost
    noise, result = run(method, backbone)
    assert result.noise is noise
    assert backbone.cost == before
    assert method.method.forwards(backbone) == 0


def test_the_choice_is_that_of_brute_force(backbone):
    scorer = Ramp().load()
    noise, result = run(load(BestOfN(STEPS, SCALE, "m", 6), backbone, m=scorer), backbone)
    tried = candidates(noise, 6)
    conditioning = backbone.encode(linear.PROMPTS)
    pictures = [backbone.decode(backbone.sample(z, conditioning, STEPS, SCALE)) for z in tried]
    scores = torch.stack([scorer.score(images, linear.PROMPTS) for images in pictures])
    for row in range(2):
        assert torch.equal(result.noise[row], tried[int(scores[:, row].argmax())][row])
    assert torch.equal(result.trace[-1].score, scores.amax(0))


def test_more_candidates_of_one_stream_never_score_less(backbone):
    best = [
        run(load(BestOfN(STEPS, SCALE, "m", n), backbone, m=Ramp()), backbone)[1].trace[-1].score for n in range(2, 7)
    ]
    assert (torch.stack(best).diff(dim=0) >= 0).all()
    assert (best[-1] > best[0]).any()


# --- zero-order search -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [0.0, 0.3, 0.9, 1.0])
def test_neighbours_keep_unit_variance(radius):
    pivot, fresh = (torch.randn(200_000, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    mixed = neighbour(pivot, fresh, radius)
    assert mixed.var() == pytest.approx(1, abs=0.02)
    assert torch.corrcoef(torch.stack([pivot, mixed]))[0, 1] == pytest.approx(math.sqrt(1 - radius**2), abs=0.01)


def test_a_radius_of_zero_and_no_rounds_return_the_given_noise(backbone):
    for method in (ZeroOrderSearch(STEPS, SCALE, "m", 2, 2, radius=0.0), ZeroOrderSearch(STEPS, SCALE, "m", 0)):
        noise, result = run(load(method, backbone, m=Ramp()), backbone)
        assert torch.equal(result.noise, noise)


def test_each_round_starts_from_the_best_noise_so_far(backbone):
    # round 0: 0.5; round 1: 0.9 then 0.1; round 2: both worse, so the pivot stays where round 1 put it
    scorer = Listed([0.5], [0.9], [0.1], [0.2], [0.3])
    method = load(ZeroOrderSearch(STEPS, SCALE, "m", 2, 2, radius=0.4), backbone, m=scorer)
    noise, result = run(method, backbone, seeds=(1,))
    [generator] = seeding.streams([1], "search")
    expected = neighbour(noise, seeding.randn_like(noise, [generator]), 0.4)
    assert torch.equal(result.noise, expected)
    assert [point.score.item() for point in result.trace] == [pytest.approx(v) for v in (0.5, 0.9, 0.9, 0.9, 0.9)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"radius": 1.5}, "radius=1.5"), ({"num_candidates": 0}, "num_candidates=0"), ({"num_rounds": 1.5}, "whole")],
)
def test_values_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        ZeroOrderSearch(STEPS, SCALE, "m", **changes)
