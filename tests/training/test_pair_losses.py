"""Laws of what a pair teaches: weights by gain, and preferring the side that won."""

import pytest
import torch

from npnet.training import pair_losses
from npnet.training.module import NPNetModule
from npnet.training.objective import PairsObjective
from npnet.training.optimisation import Optimisation
from npnet.training.penalties import squared_error
from tests.training.affine import Affine


def preference(prediction, source, golden, kept, scale):
    to_golden, to_source = squared_error(prediction, golden), squared_error(prediction, source)
    return pair_losses.preference(to_golden, to_source, kept, scale)


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 4, 8, 8, generator=generator) for _ in range(3)]


def test_the_mean_of_the_pair_errors_is_equation_8(sides):
    prediction, golden, _ = sides
    assert torch.allclose(squared_error(prediction, golden).mean(), torch.nn.functional.mse_loss(prediction, golden))


def test_weights_are_gains_to_a_power_with_mean_1_and_no_gain_counts_nothing():
    gains = torch.tensor([1.0, 2.0, -3.0, float("nan"), 0.0])
    assert torch.allclose(pair_losses.weights(gains, 1.0), gains.new_tensor([5 / 3, 10 / 3, 0, 0, 0]))
    assert torch.allclose(pair_losses.weights(gains, 2.0), gains.new_tensor([1.0, 4.0, 0, 0, 0]))
    assert torch.allclose(pair_losses.weights(10 * gains, 1.5), pair_losses.weights(gains, 1.5))
    assert torch.equal(pair_losses.weights(-gains.nan_to_num(5.0).abs(), 1.0), torch.zeros(5))


def test_a_preference_is_indifferent_half_way_and_falls_towards_the_side_that_won(sides):
    source, golden, _ = sides
    kept = torch.tensor([True, False] * 3)
    winner = torch.where(kept.view(-1, 1, 1, 1), golden, source)
    loser = torch.where(kept.view(-1, 1, 1, 1), source, golden)
    half_way = preference((source + golden) / 2, source, golden, kept, 4.0)
    assert torch.allclose(half_way, torch.full((6,), torch.log(torch.tensor(2.0)).item() / 4), atol=1e-6)
    towards, away = (preference(side, source, golden, kept, 4.0) for side in (winner, loser))
    assert (towards < half_way).all() and (half_way < away).all()


def test_swapping_the_sides_and_the_verdict_changes_no_preference(sides):
    prediction, source, golden = sides
    kept = torch.tensor([True, False, True, True, False, False])
    one = preference(prediction, source, golden, kept, 2.0)
    other = preference(prediction, golden, source, ~kept, 2.0)
    assert torch.allclose(one, other)


def test_a_pair_that_gained_nothing_teaches_nothing(sides):
    source, golden, other = sides
    gains = torch.tensor([1.0, 0.5, 2.0, 0.0, -1.0, 0.0])
    batch = {"source_noise": source, "prompt_embeds": torch.ones(6, 3, 64), "gains": {"first": gains, "second": -gains}}
    module = NPNetModule(Affine(), Optimisation(), PairsObjective(gain_power=1.0))
    changed = torch.where((gains > 0).view(-1, 1, 1, 1), golden, other)
    losses = [module.training_step({**batch, "golden_noise": target}, 0) for target in (golden, changed)]
    assert torch.equal(*losses) and losses[0] > 0
    second = NPNetModule(Affine(), Optimisation(), PairsObjective(gain_power=1.0, gain_metric="second"))
    assert second.training_step({**batch, "golden_noise": golden}, 0) != losses[0]


def test_with_a_preference_a_rejected_pair_teaches_its_source(sides):
    source, golden, _ = sides
    kept = torch.tensor([True, False, True, True, False, False])
    batch = {"source_noise": source, "golden_noise": golden, "kept": kept, "prompt_embeds": torch.ones(6, 3, 64)}
    module = NPNetModule(Affine(), Optimisation(), PairsObjective(preference=0.5, preference_scale=2.0))
    with torch.no_grad():
        module.network.shift.fill_(0.3)
        prediction, loss = module(batch), module.training_step(batch, 0)
    errors = torch.where(kept, squared_error(prediction, golden), squared_error(prediction, source))
    assert torch.allclose(loss, (errors + 0.5 * preference(prediction, source, golden, kept, 2.0)).mean())
