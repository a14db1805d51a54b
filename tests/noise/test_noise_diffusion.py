"""Laws of Noise Diffusion and of the alternatives its paper compares with."""

import math

import pytest
import torch

from npnet import seeding
from npnet.compatibility import check_scorers
from npnet.errors import UserError
from npnet.noise import NoiseDiffusion
from npnet.noise.runtime.noise_diffusion import _Moments, choose, mix, step_size
from npnet.noise.runtime.reparametrise import divergence, reparametrise
from tests import fakes
from tests.noise import linear
from tests.noise.scorers import Constant, Listed, Plain, Ramp, Slope, load

STEPS, SCALE = 3, 3.0


@pytest.fixture(scope="module", params=["variance_preserving", "flow"])
def backbone(request):
    return linear.of_kind(request.param)


@pytest.fixture(scope="module")
def exact():
    return linear.of_kind()


def method(backbone, scorer, **changes):
    return load(NoiseDiffusion(STEPS, SCALE, "m", **{"threshold": None, **changes}), backbone, m=scorer)


def run(method, backbone, seeds=(1, 2)):
    noise = linear.noise_of(backbone, seeds)
    conditioning = backbone.encode(linear.PROMPTS[: len(seeds)])
    return noise, method(noise, conditioning, backbone, seeding.streams(seeds, "diffusion"))


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- the update ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "gamma"),
    [(0.05, 0.776), (0.25, 0.5), (0.5, 0.293), (0.65, 0.194), (0.7, 0.163), (0.9, 0.051), (0.98, 0.010)],
)
def test_the_step_size_is_the_published_one(share, gamma):
    assert step_size(torch.tensor(share)).item() == pytest.approx(gamma, abs=5e-4)


def test_the_step_size_stays_between_0_and_1():
    assert step_size(torch.tensor([-3.0, 0.0, 1.0, 7.0])).tolist() == [1, 1, 0, 0]


def test_a_perfect_score_stays_and_a_score_of_zero_draws_anew():
    noise, fresh = draw(2, 4, 8, 8), draw(2, 4, 8, 8, seed=1)
    mixed = mix(noise, fresh, step_size(torch.tensor([1.0, 0.0])))
    assert torch.equal(mixed[0], noise[0])
    assert torch.equal(mixed[1], fresh[1])


@pytest.mark.parametrize("gamma", [0.05, 0.5, 1.0])
def test_mixing_keeps_unit_variance(gamma):
    mixed = mix(draw(1, 200_000), draw(1, 200_000, seed=1), torch.tensor([gamma]))
    assert mixed.var() == pytest.approx(1, abs=0.02)


def test_selection_among_50_in_16384_dimensions_hardly_changes_the_standard_deviation():
    noise, gradient, candidates = draw(16384), draw(16384, seed=1), draw(50, 16384, seed=2)
    gamma = torch.tensor(0.293)
    chosen = candidates[choose(gradient, noise, candidates, gamma)][0]
    assert (chosen @ gradient / gradient.norm()).item() == pytest.approx(2.2, abs=1.0)
    assert mix(noise[None], chosen[None], gamma[None]).std() == pytest.approx(1, abs=0.02)


# --- the choice ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_choice_is_that_of_brute_force_and_ignores_the_gradients_scale(seed):
    noise, gradient, candidates = (
        draw(4, 8, 8, seed=seed),
        draw(4, 8, 8, seed=seed + 10),
        draw(7, 4, 8, 8, seed=seed + 20),
    )
    gamma = torch.tensor(0.2)
    ratios = []
    for sigma in candidates:
        v = (math.sqrt(0.8) - 1) * noise + math.sqrt(0.2) * sigma
        ratios.append(float((gradient * v).sum() / v.square().sum()))
    expected = max(range(7), key=lambda i: ratios[i])
    for scale in (1e-3, 1.0, 13.15):
        assert choose(scale * gradient, noise, candidates, gamma) == expected


def test_where_no_candidate_moves_the_noise_stays(backbone):
    noise, result = run(method(backbone, Constant(1.0), num_rounds=2), backbone)
    assert torch.equal(result.noise, noise)
    assert choose(draw(4), draw(4, seed=1), draw(3, 4, seed=2), torch.tensor(0.0)) == 0


# --- the gradient ----------------------------------------------------------------------------------------------------


class Projection(Slope):
    """A scorer that is linear in the picture."""

    def _score(self, images, prompts):
        return (images * direction(images)).flatten(1).sum(1)


def direction(images):
    return torch.linspace(-1, 1, images[0].numel()).view_as(images[0])


def test_the_gradient_is_the_analytic_one_on_a_linear_decoder_and_scorer(backbone):
    made = method(backbone, Projection(Ramp()))
    noise = linear.noise_of(backbone)
    _, gradient = made._judge(noise, backbone.encode(linear.PROMPTS), backbone, with_gradient=True)
    expected = torch.zeros_like(noise)
    expected[:, :3] = linear.PIXELS * direction(noise[:, :3])
    assert torch.allclose(gradient, expected, atol=1e-7)


def replayed_gradient(backbone, scorer, noise, conditioning):
    """The published way: the sampler replayed from z with the stored predictions, as a graph."""
    predictions, latents = [], noise
    for here, there in backbone.steps(STEPS):
        predictions.append(backbone.predict(latents, here, conditioning, SCALE))
        latents = backbone.move(latents, predictions[-1], here, there)
    with torch.enable_grad():
        leaf = noise.clone().requires_grad_()
        latents = leaf
        for (here, there), noise_pred in zip(backbone.steps(STEPS), predictions, strict=True):
            latents = backbone.move(latents, noise_pred, here, there)
        scorer.score(backbone.decode(latents), linear.PROMPTS).sum().backward()
    return leaf.grad


def test_the_gradient_is_the_published_one_up_to_the_samplers_scalar(backbone):
    scorer, noise, conditioning = Ramp().load(), linear.noise_of(backbone), backbone.encode(linear.PROMPTS)
    loaded = method(backbone, scorer)
    latents = loaded.finish(noise, conditioning, backbone).latents
    _, gradient = loaded._judge(latents, conditioning, backbone, with_gradient=True)
    expected = replayed_gradient(backbone, scorer, noise, conditioning)
    assert torch.allclose(linear.sampler_gain(backbone, STEPS) * gradient, expected, rtol=1e-4, atol=1e-9)


def test_the_scalar_is_the_published_schedules(exact):
    first = exact.steps(50)[0].from_timestep
    assert linear.sampler_gain(exact, 50) == pytest.approx(1 / exact.coefficients(first).alpha)
    assert linear.sampler_gain(exact, 50) == pytest.approx(13.15, abs=0.02)
    assert linear.sampler_gain(linear.of_kind("flow"), 28) == 1


def test_holding_the_predictions_is_an_approximation(exact):
    """On a model that is not linear the gradient through everything points elsewhere."""
    noise, conditioning, scorer = linear.noise_of(exact), exact.encode(linear.PROMPTS), Ramp().load()
    _, held = method(exact, scorer)._judge(noise, conditioning, exact, with_gradient=True)
    with torch.enable_grad():
        leaf = noise.clone().requires_grad_()
        latents = exact.sample(leaf, conditioning, STEPS, SCALE)
        scorer.score(exact.decode(latents), linear.PROMPTS).sum().backward()
    cosine = torch.nn.functional.cosine_similarity(held.flatten(1), leaf.grad.flatten(1))
    assert (linear.sampler_gain(exact, STEPS) * held - leaf.grad).abs().max() > 0.1 * leaf.grad.abs().max()
    assert (cosine > 0).all()


@pytest.mark.parametrize("variant", ["noise_diffusion", "pgd", "mean_variance", "random_sampling", "random_diffusion"])
def test_no_graph_is_kept_through_the_denoiser(backbone, variant, monkeypatch):
    predict = type(backbone).evaluate

    def evaluate(self, latents, *args):
        assert not torch.is_grad_enabled()
        assert not latents.requires_grad
        return predict(self, latents, *args)

    monkeypatch.setattr(type(backbone), "evaluate", evaluate)
    before = backbone.cost
    _, result = run(method(backbone, Ramp().load(), variant=variant, num_rounds=2, num_candidates=3), backbone)
    cost = backbone.cost - before
    assert cost.backwards == 0
    assert cost.forwards == 2 * (2 + 1) * STEPS * 2
    assert not result.noise.requires_grad


# --- the loop --------------------------------------------------------------------------------------------------------


def test_the_best_noise_is_returned_and_not_the_last(exact):
    made = method(exact, Listed([0.5], [0.9], [0.1], [0.3]), variant="random_diffusion", num_rounds=3)
    noise, result = run(made, exact, seeds=(1,))
    [generator] = seeding.streams([1], "diffusion")
    expected = mix(noise, seeding.randn_like(noise, [generator]), step_size(torch.tensor([0.5])))
    assert torch.equal(result.noise, expected)
    assert [point.score.item() for point in result.trace] == [pytest.approx(v) for v in (0.5, 0.9, 0.9, 0.9)]


def test_one_candidate_is_diffusion_without_selection(backbone):
    one = run(method(backbone, Ramp().load(), num_candidates=1, num_rounds=3), backbone)[1]
    unselected = run(method(backbone, Ramp().load(), variant="random_diffusion", num_rounds=3), backbone)[1]
    assert torch.equal(one.noise, unselected.noise)


def test_random_sampling_tries_the_candidates_of_best_of_n(exact):
    noise, result = run(method(exact, Ramp().load(), variant="random_sampling", num_rounds=3), exact)
    generators = seeding.streams([1, 2], "diffusion")
    tried = [noise, *(seeding.randn_like(noise, generators) for _ in range(3))]
    assert all(any(torch.equal(result.noise[row], candidate[row]) for candidate in tried) for row in range(2))


def test_a_sample_that_reaches_the_threshold_stops_and_costs_nothing_more(exact):
    made = method(exact, Listed([0.99, 0.5], [0.6], [0.99]), variant="random_diffusion", num_rounds=5, threshold=0.98)
    before = exact.cost
    noise, result = run(made, exact)
    assert torch.equal(result.noise[0], noise[0])
    assert (exact.cost - before).forwards == (2 + 1 + 1) * STEPS * 2
    assert made.method.forwards(exact) is None
    assert len(result.trace) == 3


def test_the_score_range_says_what_counts_as_0_and_1(exact):
    made = method(exact, Listed([25.0], [25.0]), variant="random_diffusion", num_rounds=1, score_range=[20.0, 30.0])
    noise, result = run(made, exact, seeds=(1,))
    assert torch.equal(result.noise, noise)  # a tie: the first stays
    made = method(exact, Listed([25.0], [26.0]), variant="random_diffusion", num_rounds=1, score_range=[20.0, 30.0])
    noise, result = run(made, exact, seeds=(1,))
    fresh = seeding.randn_like(noise, seeding.streams([1], "diffusion"))
    assert torch.equal(result.noise, mix(noise, fresh, step_size(torch.tensor([0.5]))))


def test_no_rounds_is_the_standard_noise(backbone):
    noise, result = run(method(backbone, Ramp().load(), num_rounds=0), backbone)
    assert torch.equal(result.noise, noise)


@pytest.mark.parametrize("variant", ["noise_diffusion", "pgd", "mean_variance"])
def test_following_the_gradient_raises_the_score(exact, variant):
    _, result = run(method(exact, Ramp().load(), variant=variant, num_rounds=8, num_candidates=20), exact)
    assert (result.trace[-1].score > result.trace[0].score).all()


def test_a_step_of_pgd_has_the_length_that_was_asked(exact):
    made = method(exact, Ramp().load(), variant="pgd", num_rounds=1, pgd_step_size=0.1)
    noise, result = run(made, exact)
    moved = (result.noise - noise).flatten(1).norm(dim=1)
    assert torch.allclose(moved, torch.full((2,), 0.1 * math.sqrt(noise[0].numel())), rtol=1e-5)


def test_mean_variance_stays_near_the_normal_distribution(exact):
    made = method(exact, Ramp().load(), variant="mean_variance", num_rounds=30, learning_rate=0.1)
    noise, result = run(made, exact)
    shift = result.noise - noise
    assert 0 < shift.square().mean() < 4e-3
    assert divergence(shift, torch.zeros_like(shift)).max() < 2e-3


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_scorer_without_gradients_is_refused_where_they_are_needed():
    with pytest.raises(UserError, match="noise.x follows gradients, which metric.m does not have"):
        check_scorers("x", NoiseDiffusion(STEPS, SCALE, "m"), {"m": Plain()})
    for variant in ("random_sampling", "random_diffusion"):
        method = NoiseDiffusion(STEPS, SCALE, "m", variant)
        check_scorers("x", method, {"m": Plain()})
        assert "differentiable_decode" not in method.needs


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": "pdg"}, "did you mean 'pgd'"),
        ({"score_range": [1, 0]}, r"score_range=\[1.0,0.0\]"),
        ({"num_rounds": -1}, "num_rounds=-1"),
        ({"num_candidates": 0}, "num_candidates=0"),
    ],
)
def test_values_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        NoiseDiffusion(STEPS, SCALE, "m", **changes)


def test_it_works_on_the_shared_fakes():
    backbone = fakes.linear(device="cpu")
    made = load(
        NoiseDiffusion(STEPS, SCALE, "m", num_rounds=4, score_range=[-0.1, 0.0]), backbone, m=fakes.TargetScorer()
    )
    _, result = run(made, backbone)
    assert (result.trace[-1].score >= result.trace[0].score).all()


def test_the_moments_climb_as_autograd_and_adam_would(monkeypatch):
    monkeypatch.setattr("npnet.noise.runtime.noise_diffusion.DIVERGENCE_LIMIT", 1e9)
    noise, slope = torch.randn(2, 1, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    moments, rows = _Moments(noise, 0.5), torch.arange(1)
    leaves = [torch.zeros_like(noise).requires_grad_() for _ in range(2)]
    adam = torch.optim.Adam(leaves, lr=0.5, maximize=True)
    for _ in range(3):
        adam.zero_grad()
        with torch.enable_grad():
            (slope * reparametrise(noise, *leaves)).sum().backward()
        adam.step()
        assert torch.allclose(moments.ascend(slope, rows), reparametrise(noise, *leaves))
