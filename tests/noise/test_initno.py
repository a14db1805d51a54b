"""Laws of InitNO: the divergence, and the rounds; those of its losses are in test_attention."""

import math

import pytest
import torch

from npnet import seeding
from npnet.errors import UserError
from npnet.noise import InitNO
from npnet.noise.runtime import LoadedMethod
from npnet.noise.runtime.reparametrise import divergence, pull_back, reparametrise
from tests import tiny

STEPS = 2
PROMPTS = ["a cat and a dog", "two dogs on a bird"]


@pytest.fixture(scope="module")
def backbone():
    return tiny.sdxl()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(method, backbone, rows=(0, 1)):
    noise = seeding.source_noises([5 + i for i in rows], backbone.latent_shape())
    conditioning = backbone.encode([PROMPTS[i] for i in rows])
    method = method if isinstance(method, LoadedMethod) else method.load(backbone)
    return noise, method(noise, conditioning, backbone, seeding.streams([5 + i for i in rows], "initno"))


# --- shift, stretch and divergence -----------------------------------------------------------------------------------


def test_no_shift_and_no_stretch_is_the_identity_at_divergence_0():
    noise, zero = draw(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)
    assert torch.equal(reparametrise(noise, zero, zero), noise)
    assert torch.equal(divergence(zero, zero), torch.zeros(2))


def test_the_divergence_is_torchs_averaged_over_dimensions():
    mean, log_variance = draw(2, 4, 8, 8), 0.3 * draw(2, 4, 8, 8, seed=1)
    normal = torch.distributions.Normal(mean, torch.exp(log_variance / 2))
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    assert torch.allclose(divergence(mean, log_variance), expected / (4 * 8 * 8), rtol=1e-5)


@pytest.mark.parametrize("max_steps", [0, 1, 3, 20])
@pytest.mark.parametrize("size", [0.05, 0.5, 5.0])
def test_the_divergence_ends_below_its_limit_whatever_the_cap(max_steps, size):
    mean, log_variance = size * draw(2, 4, 8, 8), size * draw(2, 4, 8, 8, seed=1)
    mean[1], log_variance[1] = 1e-3 * mean[1] / size, 1e-3 * log_variance[1] / size
    pulled = pull_back(mean, log_variance, 1e-3, max_steps)
    assert divergence(*pulled).max() <= 1e-3
    if max_steps == 20:
        assert divergence(*pulled)[0] > 0.99e-3  # no further than needed
    assert torch.equal(pulled[0][1], mean[1])  # already below: untouched


# --- the rounds ------------------------------------------------------------------------------------------------------


def scripted(method, table):
    """Let the losses be ``table[call][row]`` = (L_cross, L_self), with a gradient of zero."""
    calls = iter(table)
    method = method.load(None)

    def losses(maps, tokens):
        rows = torch.tensor(next(calls))
        zero = 0 * maps.cross().flatten(1).sum(1)
        return rows[:, 0] + zero, rows[:, 1] + zero, zero

    method.losses = losses
    return method


def test_an_immediate_success_keeps_the_given_noise_for_one_forward(backbone):
    before = backbone.cost
    noise, result = run(scripted(InitNO(STEPS), [[(0.1, 0.2), (0.19, 0.29)]]), backbone)
    assert torch.equal(result.noise, noise)
    cost = backbone.cost - before
    assert (cost.forwards, cost.backwards) == (2, 0)


def test_never_more_than_100_forwards(backbone):
    method = scripted(InitNO(STEPS), [[(0.9, 0.1)]] * 100)
    before = backbone.cost
    _, result = run(method, backbone, rows=[0])
    cost = backbone.cost - before
    assert (cost.forwards, cost.backwards) == (100, 100 - 6)
    assert len(result.trace) == 100
    assert method.method.forwards(backbone) is None


def test_samples_that_succeed_leave_the_others_to_go_on(backbone):
    table = [[(0.3, 0.1), (0.1, 0.1)], [(0.3, 0.1)], [(0.1, 0.1)]]
    method = scripted(InitNO(STEPS, num_rounds=2, round_steps=2, final_steps=0), table)
    before = backbone.cost
    noise, result = run(method, backbone)
    assert (backbone.cost - before).forwards == 2 + 1 + 1
    assert torch.equal(result.noise[1], noise[1])
    fresh = seeding.randn_like(noise[:1], seeding.streams([5], "initno"))
    assert torch.equal(result.noise[0], fresh[0])  # the second round's start, measured as a success


def test_a_success_outranks_a_failure_of_smaller_loss(backbone):
    # a failure whose sum is smaller (0.01 + 0.31) than the later success's (0.19 + 0.29)
    method = scripted(InitNO(STEPS, num_rounds=2, round_steps=1, final_steps=0), [[(0.01, 0.31)], [(0.19, 0.29)]])
    noise, result = run(method, backbone, rows=[0])
    assert torch.equal(result.noise, seeding.randn_like(noise, seeding.streams([5], "initno")))


def test_the_final_steps_start_from_the_noise_that_had_come_closest(backbone):
    table = [[(0.9, 0.1)], [(0.4, 0.1)], [(0.8, 0.1)], [(0.1, 0.1)]]
    method = scripted(InitNO(STEPS, num_rounds=3, round_steps=1, final_steps=1), table)
    noise, result = run(method, backbone, rows=[0])
    expected = seeding.randn_like(noise, seeding.streams([5], "initno"))  # of round 2
    assert torch.equal(result.noise, expected)


def test_where_nothing_succeeds_the_lowest_measured_loss_is_returned(backbone):
    # L_self counts 1 while L_cross is above 0.5, so the second noise ranks first though its sum is larger
    table = [[(0.55, 0.0)], [(0.45, 0.45)], [(0.9, 0.4)]]
    method = scripted(InitNO(STEPS, num_rounds=3, round_steps=1, final_steps=0), table)
    noise, result = run(method, backbone, rows=[0])
    assert torch.equal(result.noise, seeding.randn_like(noise, seeding.streams([5], "initno")))
    assert [point.score.item() for point in result.trace] == [pytest.approx(v) for v in (-1.55, -0.9, -0.9)]


def test_the_real_losses_fall_and_the_noise_stays_near_normal(backbone):
    method = InitNO(STEPS, num_rounds=1, round_steps=8, final_steps=0, learning_rate=0.05)
    noise, result = run(method, backbone)
    scores = torch.stack([point.score for point in result.trace])
    assert (scores[-1] > scores[0]).all()
    assert torch.allclose(result.noise.flatten(1).var(1), noise.flatten(1).var(1), atol=0.05)


def test_every_step_keeps_the_divergence_below_its_limit(backbone, monkeypatch):
    seen = []

    def watch(*args):
        pulled = pull_back(*args)
        seen.append(divergence(*pulled).max().item())
        return pulled

    monkeypatch.setattr("npnet.noise.runtime.initno.pull_back", watch)
    run(InitNO(STEPS, num_rounds=1, round_steps=6, final_steps=0, learning_rate=0.2, divergence_steps=4), backbone)
    assert len(seen) == 5
    assert max(seen) <= 1e-3


def test_a_budget_caps_the_forwards(backbone):
    before = backbone.cost
    run(InitNO(STEPS, budget={"forwards": 7}), backbone, rows=[0])
    assert (backbone.cost - before).forwards == 7


def test_places_outside_the_prompt_are_refused(backbone):
    with pytest.raises(UserError, match="token_indices=40 for 'a cat and a dog'"):
        run(InitNO(STEPS, token_indices=[2, 40]), backbone, rows=[0])


def test_a_gradient_that_is_not_a_number_moves_nothing(backbone):
    method = InitNO(STEPS, num_rounds=1, round_steps=3, final_steps=0).load(backbone)
    losses = method.losses
    method.losses = lambda maps, tokens: tuple(math.nan * loss for loss in losses(maps, tokens))
    noise, result = run(method, backbone)
    assert torch.equal(result.noise, noise)
