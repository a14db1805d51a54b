"""Laws of InitNO: the divergence, the losses on attention maps, capturing them, and the rounds."""

import math

import numpy as np
import pytest
import torch

from npnet import seeding
from npnet.errors import UserError
from npnet.noise import InitNO, attention
from npnet.noise.reparametrise import divergence, pull_back, reparametrise
from tests import tiny

STEPS = 2
PROMPTS = ["a cat and a dog", "two dogs on a bird"]


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def backbone():
    return tiny.sdxl()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(method, backbone, rows=(0, 1)):
    noise = seeding.source_noises([5 + i for i in rows], backbone.latent_shape())
    conditioning = backbone.encode([PROMPTS[i] for i in rows])
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


# --- the losses on maps ----------------------------------------------------------------------------------------------


def left_and_right(height=8, width=8):
    maps = torch.zeros(2, height, width)
    maps[0, :, : width // 2], maps[1, :, width // 2 :] = 1, 1
    return maps


def test_disjoint_maps_do_not_conflict_and_equal_ones_do_by_a_half():
    disjoint = left_and_right()
    assert attention.conflict_loss(disjoint) == 0
    assert attention.conflict_loss(torch.stack([disjoint[0], 1.0 * disjoint[0]])) == pytest.approx(0.5, abs=1e-6)
    assert attention.conflict_loss(disjoint[:1]) == 0


def test_the_conflict_is_averaged_over_pairs():
    left, right = left_and_right()
    assert attention.conflict_loss(torch.stack([left, left, right])) == pytest.approx(0.5 / 3, abs=1e-6)


def test_tokens_that_peak_at_1_cost_nothing_and_the_weakest_one_counts():
    maps = torch.stack([torch.eye(8), 0.3 * torch.eye(8)])
    assert attention.response_loss(maps[:1]) == 0
    assert attention.response_loss(maps) == pytest.approx(0.7)


def test_smoothing_keeps_a_constant_and_is_the_published_kernel():
    assert torch.allclose(attention.smooth(torch.full((1, 8, 8), 0.4)), torch.tensor(0.4))
    point = torch.zeros(1, 5, 5)
    point[0, 2, 2] = 1
    line = np.exp(-np.array([1.0, 0.0, 1.0]))
    line /= line.sum()
    assert np.allclose(attention.smooth(point)[0, 1:4, 1:4].numpy(), np.outer(line, line), atol=1e-6)
    assert attention.smooth(torch.ones(1, 1, 1)).shape == (1, 1, 1)


def test_token_maps_leave_out_the_start_and_the_last_place():
    cross = torch.zeros(4, 4, 6)
    cross[..., 0] = cross[..., 5] = 5.0  # what the start token and the last place get must not matter
    cross[..., 2] = 1.0
    maps = attention.token_maps(cross, [2, 3])
    assert torch.allclose(maps[0], torch.ones(4, 4))
    assert torch.allclose(maps[1], torch.zeros(4, 4), atol=1e-6)


def otsu_by_hand(levels):
    """The threshold with the largest variance between the classes, tried one by one."""
    levels = levels.flatten().numpy()
    best, found = -1.0, 0
    for threshold in range(256):
        low, high = levels[levels <= threshold], levels[levels > threshold]
        if len(low) and len(high):
            between = len(low) * len(high) * (low.mean() - high.mean()) ** 2
            if between > best + 1e-9:
                best, found = between, threshold
    return found


@pytest.mark.parametrize("seed", range(4))
def test_otsus_threshold_is_that_of_brute_force(seed):
    values = torch.rand(8, 8, generator=torch.Generator().manual_seed(seed))
    values[:3] *= 0.2
    levels = attention.to_levels(values)
    assert attention.otsu_threshold(levels) == otsu_by_hand(levels)


def test_an_object_is_the_part_around_the_peak():
    token_map = torch.full((8, 8), 0.05)
    token_map[1:3, 1:3], token_map[5:7, 5:7] = 0.8, 0.7
    token_map[1, 1] = 0.9
    mask = attention.object_mask(token_map)
    assert mask[1:3, 1:3].all()
    assert mask.sum() == 4


def test_a_second_blob_costs_its_height_and_a_single_one_nothing():
    token_map = torch.full((8, 8), 0.05)
    token_map[1:3, 1:3] = 0.9
    token_map[1, 2] = 0.6
    assert attention.clean_loss(token_map[None]) == 0
    token_map[5:7, 5:7] = 0.7
    assert attention.clean_loss(token_map[None]) == pytest.approx(0.7)


def test_the_self_attention_is_read_at_the_tokens_peak():
    self_attention = draw(4, 4, 16).abs()
    maps = torch.zeros(1, 4, 4)
    maps[0, 2, 1] = 1
    expected = attention.smooth(self_attention[2, 1].view(1, 4, 4))
    assert torch.equal(attention.peak_self_maps(self_attention, maps), expected)


def test_gradients_reach_shift_and_stretch_on_a_toy_attention():
    noise, keys = draw(1, 4, 8, 8), draw(6, 4, seed=3)
    mean, log_variance = torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)
    with torch.enable_grad():
        leaves = [mean.requires_grad_(), log_variance.requires_grad_()]
        z = reparametrise(noise, *leaves)[0].permute(1, 2, 0)
        cross = torch.softmax(z @ keys.T, dim=-1)
        among = torch.softmax(torch.einsum("hwc,xyc->hwxy", z, z).flatten(2), dim=-1)
        maps = attention.token_maps(cross, [2, 4])
        conflict = attention.conflict_loss(attention.peak_self_maps(among, maps))
        loss = attention.response_loss(maps) + conflict + attention.clean_loss(maps)
        gradients = torch.autograd.grad(loss, leaves)
    assert all(torch.isfinite(gradient).all() and gradient.abs().sum() > 0 for gradient in gradients)


# --- capturing -------------------------------------------------------------------------------------------------------


def test_captured_maps_are_distributions_and_the_prediction_is_untouched(backbone):
    noise, conditioning = seeding.source_noises([5, 6], backbone.latent_shape()), backbone.encode(PROMPTS)
    level = backbone.timesteps(STEPS)[0]
    plain, _ = backbone.evaluate(noise, level, conditioning, unconditional=False)
    unet = backbone.pipeline.unet
    before = {name: type(processor) for name, processor in unet.attn_processors.items()}
    with attention.AttentionMaps(unet, (4, 4)) as maps:
        watched, _ = backbone.evaluate(noise, level, conditioning, unconditional=False)
        cross, among = maps.cross(), maps.self_attention()
    assert torch.equal(plain, watched)
    assert cross.shape == (2, 4, 4, 16)
    assert among.shape == (2, 4, 4, 16)
    assert torch.allclose(cross.sum(-1), torch.ones(2, 4, 4), atol=1e-5)
    assert torch.allclose(among.sum(-1), torch.ones(2, 4, 4), atol=1e-5)
    assert {name: type(processor) for name, processor in unet.attn_processors.items()} == before


def test_the_maps_are_those_of_the_attention_layers_themselves(backbone):
    """Against diffusers' own processor that computes probabilities."""
    from diffusers.models.attention_processor import AttnProcessor

    unet, kept = backbone.pipeline.unet, []

    class Recording(AttnProcessor):
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args, **kwargs):
            scores = attn.get_attention_scores
            cross = encoder_hidden_states is not None
            attn.get_attention_scores = lambda *a: kept.append((cross, scores(*a))) or kept[-1][1]
            try:
                return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)
            finally:
                del attn.get_attention_scores

    noise, conditioning = seeding.source_noises([5], backbone.latent_shape()), backbone.encode(PROMPTS[:1])
    level, before = backbone.timesteps(STEPS)[0], dict(unet.attn_processors)
    unet.set_attn_processor({name: Recording() for name in before})
    backbone.evaluate(noise, level, conditioning, unconditional=False)
    unet.set_attn_processor(before)
    with attention.AttentionMaps(unet, (4, 4)) as maps:
        backbone.evaluate(noise, level, conditioning, unconditional=False)
        ours = maps.cross()
    layers = [probabilities.mean(0) for cross, probabilities in kept if cross and probabilities.shape[1] == 16]
    assert torch.allclose(ours[0].flatten(0, 1), torch.stack(layers).mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("kinds", "latents", "expected"),
    [
        (["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], (64, 64), (16, 16)),  # SD 1.x at 512: the published size
        (["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], (128, 128), (32, 32)),  # SDXL at 1024
        (["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], (16, 16), (8, 8)),  # Shapes
        (["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], (64, 96), (8, 12)),
    ],
)
def test_maps_are_the_largest_of_at_most_16_by_16(backbone, kinds, latents, expected):
    from types import SimpleNamespace

    unet = SimpleNamespace(config=SimpleNamespace(down_block_types=kinds), mid_block=SimpleNamespace(attentions=[1]))
    assert attention.choose_grid(unet, latents) == expected


# --- the rounds ------------------------------------------------------------------------------------------------------


def scripted(method, table):
    """Let the losses be ``table[call][row]`` = (L_cross, L_self), with a gradient of zero."""
    calls = iter(table)

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
    assert method.forwards(backbone) is None


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

    monkeypatch.setattr("npnet.noise.initno.pull_back", watch)
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
    method = InitNO(STEPS, num_rounds=1, round_steps=3, final_steps=0)
    losses = method.losses
    method.losses = lambda maps, tokens: tuple(math.nan * loss for loss in losses(maps, tokens))
    noise, result = run(method, backbone)
    assert torch.equal(result.noise, noise)
