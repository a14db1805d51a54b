"""Laws of renoising at the first step."""

import math

import pytest
import torch

from npnet import seeding
from npnet.compatibility import check_method
from npnet.errors import UserError
from npnet.noise import Repaint
from npnet.noise.runtime.repaint import renoise
from tests import fakes
from tests.noise import linear

STEPS, SCALE = 10, 3.0


@pytest.fixture(scope="module")
def backbone():
    return linear.of_kind()


def generators(purpose="repaint"):
    return seeding.streams([1, 2], purpose)


def test_a_jump_of_zero_is_the_identity(backbone):
    noise = linear.noise_of(backbone, dtype=torch.float64)
    assert torch.equal(renoise(backbone, noise, 801.0, 801.0, generators()), noise)


def test_renoising_is_the_published_formula(backbone):
    latents = linear.noise_of(backbone, dtype=torch.float64)
    here, there = backbone.steps(STEPS)[0]
    ratio = math.sqrt(backbone.schedule().table[901] / backbone.schedule().table[801])
    fresh = seeding.randn_like(latents, generators())
    expected = ratio * latents + math.sqrt(1 - ratio**2) * fresh
    assert (renoise(backbone, latents, there, here, generators()) - expected).abs().max() < 1e-12


def test_renoising_of_a_flow_model_is_its_euler_form():
    backbone = linear.of_kind("flow")
    latents, (s, t) = linear.noise_of(backbone, dtype=torch.float64), (0.5, 0.75)
    kept = (1 - t) / (1 - s)
    expected = kept * latents + math.sqrt(t**2 - (kept * s) ** 2) * seeding.randn_like(latents, generators())
    assert (renoise(backbone, latents, s, t, generators()) - expected).abs().max() < 1e-12
    assert torch.equal(renoise(backbone, latents, s, 1.0, generators()), seeding.randn_like(latents, generators()))


@pytest.mark.parametrize(("kind", "low", "high"), [("variance_preserving", 501.0, 801.0), ("flow", 0.4, 0.8)])
def test_renoising_keeps_the_marginal_of_gaussian_data(kind, low, high):
    backbone = linear.of_kind(kind)
    many = torch.Generator().manual_seed(0)
    data = 2.0 + 0.5 * torch.randn(64, *backbone.latent_shape(), generator=many)
    at_low = backbone.coefficients(low)
    latents = at_low.alpha * data + at_low.sigma * torch.randn(data.shape, generator=many)
    moved = renoise(backbone, latents, low, high, seeding.streams(range(64), "repaint"))
    alpha, sigma = backbone.coefficients(high)
    assert moved.mean() == pytest.approx(2.0 * alpha, abs=0.03)
    assert moved.var() == pytest.approx(alpha**2 * 0.25 + sigma**2, rel=0.04)


@pytest.mark.parametrize(("jump", "repeats"), [(1, 1), (2, 1), (3, 2), (10, 1)])
def test_the_cost_is_a_forward_for_each_step_down(backbone, jump, repeats):
    for scale, branches in ((SCALE, 2), (1.0, 1)):
        method = Repaint(scale, STEPS, jump, repeats).load(backbone)
        before = backbone.cost
        method(linear.noise_of(backbone), backbone.encode(linear.PROMPTS), backbone, generators())
        assert (
            (backbone.cost - before).forwards == 2 * jump * repeats * branches == 2 * method.method.forwards(backbone)
        )


def test_one_jump_is_one_step_down_and_one_renoising(backbone):
    noise, conditioning = linear.noise_of(backbone), backbone.encode(linear.PROMPTS)
    result = Repaint(SCALE, STEPS).load(backbone)(noise, conditioning, backbone, generators())
    here, there = backbone.steps(STEPS)[0]
    lower = backbone.move(noise, backbone.predict(noise, here, conditioning, SCALE), here, there)
    assert torch.allclose(result.noise, renoise(backbone, lower, there, here, generators()), atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(backbone):
    noise, conditioning, method = (
        linear.noise_of(backbone),
        backbone.encode(linear.PROMPTS),
        Repaint(SCALE, STEPS).load(backbone),
    )
    one, two, other = (
        method(noise, conditioning, backbone, generators(purpose)).noise for purpose in ("repaint", "repaint", "other")
    )
    assert torch.equal(one, two)
    assert not torch.allclose(one, other)


def test_a_first_evaluation_without_its_unconditional_half_is_not_shared(backbone):
    noise, conditioning = linear.noise_of(backbone), backbone.encode(linear.PROMPTS)
    for scale in (1.0, SCALE):
        method = Repaint(scale, STEPS)
        result = method.load(backbone)(noise, conditioning, backbone, generators())
        assert (result.first_branches is not None) == (scale != 1) == method.shares_first_evaluation(STEPS)


def test_a_flow_model_is_refused_before_it_is_loaded():
    with pytest.raises(UserError, match="noise.again: .* starts at pure noise .as flow matching does, at t = 1."):
        check_method("again", Repaint(SCALE, STEPS), fakes.LinearBackbone("flow", device="cpu"))


def test_a_schedule_without_signal_at_its_start_is_refused():
    class ZeroSignal(linear.LoadedLinear):
        """What rescaling a schedule to zero terminal signal does."""

        def coefficients(self, timestep):
            found = super().coefficients(timestep)
            return type(found)(0.0, 1.0) if timestep == self.timesteps(STEPS)[0] else found

    method = Repaint(SCALE, STEPS)
    assert method.load(linear.of_kind()).method is method
    with pytest.raises(UserError, match="starts at pure noise"):
        method.load(ZeroSignal(linear.Linear(device="cpu")))


@pytest.mark.parametrize(("values", "words"), [((0, 1), "jump_length=0"), ((1, 0), "repeats=0"), ((11, 1), "10 steps")])
def test_values_that_cannot_be_are_refused(values, words):
    with pytest.raises(UserError, match=words):
        Repaint(SCALE, STEPS, *values)
