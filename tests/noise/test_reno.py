"""Laws of gradient ascent through a few-step sampler."""

import math

import pytest
import torch

from npnet.compatibility import check_scorers
from npnet.errors import UserError
from npnet.noise import ReNO
from npnet.noise.runtime.reno import clip_gradient, norm_log_density
from tests.noise import linear
from tests.noise.scorers import Constant, Plain, Ramp, Slope, load

STEPS, SCALE = 1, 1.0


@pytest.fixture(params=["variance_preserving", "flow"])
def backbone(request):
    return linear.of_kind(request.param)


def run(backbone, scorer, noise=None, **changes):
    method = load(ReNO(STEPS, SCALE, "m", **changes), backbone, m=scorer)
    noise = linear.noise_of(backbone) if noise is None else noise
    return noise, method(noise, backbone.encode(linear.PROMPTS), backbone, [])


class Target(Slope):
    """Minus half the squared distance of the latents to a point, in units of the latents."""

    def _score(self, images, prompts):
        return -0.5 * ((images - 0.5) / linear.PIXELS - 1.0).square().flatten(1).sum(1)


def test_the_regulariser_is_largest_at_the_norm_of_normal_noise():
    leaf = torch.randn(3, 4, 8, 8, requires_grad=True)
    with torch.enable_grad():
        scaled = leaf * (math.sqrt(255) / leaf.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)
        (gradient,) = torch.autograd.grad(norm_log_density(scaled).sum(), scaled)
    assert gradient.abs().max() < 1e-5
    values = norm_log_density(torch.stack([r * torch.ones(4, 8, 8) / 16 for r in (10.0, math.sqrt(255), 25.0)]))
    assert values[1] > values[0]
    assert values[1] > values[2]


def test_the_regulariser_is_finite_in_half_precision():
    assert torch.isfinite(norm_log_density(torch.full((1, 4, 64, 64), 3.0, dtype=torch.float16))).all()


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_without_a_reward_the_norm_tends_to_the_root_of_d_minus_1(size):
    backbone = linear.of_kind()

    class Watched(Constant):
        pass

    norms = []
    sample = backbone.sample

    def watch(noise, *args, **kwargs):
        norms.append(noise.detach().flatten(1).norm(dim=1))
        return sample(noise, *args, **kwargs)

    backbone.sample = watch
    run(backbone, Watched(), noise=size * linear.noise_of(backbone), num_iterations=400)
    assert torch.allclose(norms[-1], torch.full((2,), math.sqrt(255)), rtol=1e-3)


def test_a_quadratic_reward_is_climbed_to_its_top():
    backbone = linear.of_kind()
    _, result = run(
        backbone,
        Target(Ramp()),
        num_iterations=120,
        learning_rate=0.5,
        gradient_clip=5.0,
        regularisation=0.0,
    )
    assert (result.trace[0].score < -20).all()
    assert (result.trace[-1].score > -0.05).all()


def test_the_best_so_far_never_falls_and_is_what_the_returned_noise_scores(backbone):
    scorer = Ramp().load()
    _, result = run(backbone, scorer, num_iterations=12, learning_rate=40.0)
    scores = torch.stack([point.score for point in result.trace])
    assert (scores.diff(dim=0) >= 0).all()
    conditioning = backbone.encode(linear.PROMPTS)
    again = scorer.score(backbone.decode(backbone.sample(result.noise, conditioning, STEPS, SCALE)), linear.PROMPTS)
    assert torch.allclose(again, scores[-1], atol=1e-6)


def test_a_noise_is_scored_before_the_step_away_from_it(backbone):
    noise, result = run(backbone, Ramp().load(), num_iterations=1)
    assert torch.equal(result.noise, noise)


def test_the_first_moves_are_those_of_nesterov_sgd(backbone):
    scorer, noise = Ramp().load(), linear.noise_of(backbone)
    conditioning = backbone.encode(linear.PROMPTS)
    with torch.enable_grad():
        leaf = torch.nn.Parameter(noise[:1].clone())
        sgd = torch.optim.SGD([leaf], lr=5.0, momentum=0.9, nesterov=True)
        visited = []
        for _ in range(4):
            visited.append(leaf.detach().clone())
            sgd.zero_grad()
            images = backbone.decode(backbone.sample(leaf, conditioning[:1], STEPS, SCALE))
            loss = -scorer.score(images, linear.PROMPTS[:1]).sum() - 0.01 * norm_log_density(leaf).sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(leaf, 0.1)
            sgd.step()
    ours, sample = [], backbone.sample
    backbone.sample = lambda noise, *args, **kwargs: ours.append(noise.detach()) or sample(noise, *args, **kwargs)
    run(backbone, scorer, noise=noise, num_iterations=4)
    for theirs, mine in zip(visited, ours, strict=True):
        assert torch.allclose(mine[:1], theirs, atol=1e-5)
    assert (visited[1] - visited[0]).norm() <= 0.95 + 1e-5


def test_gradients_are_cut_for_each_sample_and_bad_ones_are_dropped():
    gradient = torch.stack([torch.full((4, 8, 8), 3.0), torch.full((4, 8, 8), 1e-4), torch.full((4, 8, 8), math.nan)])
    cut = clip_gradient(gradient, 0.1)
    assert cut[0].norm() == pytest.approx(0.1)
    assert torch.equal(cut[1], gradient[1])
    assert torch.equal(cut[2], torch.zeros(4, 8, 8))


@pytest.mark.parametrize("iterations", [1, 3])
def test_the_last_picture_needs_no_gradient(backbone, iterations):
    before = backbone.cost
    run(backbone, Ramp().load(), num_iterations=iterations)
    cost = backbone.cost - before
    assert (cost.forwards, cost.backwards) == (2 * iterations, 2 * (iterations - 1))


def test_long_samplers_are_refused():
    with pytest.raises(UserError, match="gradients through 50 steps are useless"):
        ReNO(50, SCALE, "m").check()
    ReNO(50, SCALE, "m", max_inference_steps=50).check()


def test_a_scorer_without_gradients_is_refused():
    with pytest.raises(UserError, match="noise.again follows gradients, which metric.m does not have"):
        check_scorers("again", ReNO(STEPS, SCALE, "m"), {"m": Plain()})
