"""Laws of attention maps: InitNO's losses on them, and how they are captured from a UNet."""

import numpy as np
import pytest
import torch

from npnet import seeding
from npnet.noise.runtime import attention
from npnet.noise.runtime.reparametrise import reparametrise
from tests import tiny

STEPS = 2
PROMPTS = ["a cat and a dog", "two dogs on a bird"]


@pytest.fixture(scope="module")
def backbone():
    return tiny.sdxl()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


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
