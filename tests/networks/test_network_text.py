import pytest
import torch

from npnet.networks.sizes import Windows
from npnet.networks.text import NUM_FREQUENCIES, SpatialText, index_features

WIDTHS = [(768, 0), (1024, 0), (2048, 1280), (4096, 768)]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_spatial_form_has_under_two_million_parameters_at_sdxls_width():
    assert count(SpatialText(4, 2048, 1280)) < 2_000_000
    assert count(SpatialText(16, 2048, 2048)) < 2_100_000


@pytest.mark.parametrize(("width", "pooled_width"), WIDTHS)
@pytest.mark.parametrize("length", [1, 77, 256, 300])
def test_any_width_and_any_number_of_tokens_gives_a_map(width, pooled_width, length, draw):
    text = SpatialText(4, width, pooled_width)
    pooled = draw(2, pooled_width) if pooled_width else None
    with torch.no_grad():
        assert text.coarse_map(draw(2, length, width), pooled, None).isfinite().all()


@pytest.mark.parametrize("text_term", ["spatial", "ada_group_norm"])
def test_permuting_the_prompts_of_a_batch_permutes_the_outputs(text_term, small, draw):
    network, embeds = small(text_term=text_term), draw(5, 7, 12)
    noise, order = draw(1, 4, 16, 16).repeat(5, 1, 1, 1), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        golden, permuted = network(noise, embeds), network(noise, embeds[order])
    torch.testing.assert_close(permuted, golden[order], atol=1e-5, rtol=0)
    assert (permuted - golden).abs().amax((1, 2, 3)).min() > 1e-2


def test_masked_tokens_do_not_matter(small, draw):
    network, noise, embeds = small(), draw(2, 4, 16, 16), draw(2, 7, 12)
    mask = torch.tensor([[1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0]])
    other = torch.where(mask.bool()[..., None], embeds, 100 * draw(2, 7, 12, seed=1))
    with torch.no_grad():
        golden = network(noise, embeds, prompt_mask=mask)
        assert torch.equal(network(noise, other, prompt_mask=mask.bool()), golden)
        shorter = network(noise[:1], embeds[:1, :3])
        assert not torch.equal(network(noise, embeds), golden)
    torch.testing.assert_close(golden[:1], shorter, atol=1e-6, rtol=0)


def test_a_prompt_without_a_real_token_gives_a_finite_result_that_ignores_the_tokens(small, draw):
    network, noise = small(), draw(1, 4, 16, 16)
    nothing = torch.zeros(1, 7)
    with torch.no_grad():
        golden = network(noise, draw(1, 7, 12), prompt_mask=nothing)
        assert torch.equal(network(noise, draw(1, 7, 12, seed=1), prompt_mask=nothing), golden)
    assert golden.isfinite().all()


def test_pooled_embeddings_are_used_where_the_network_has_a_place_for_them(small, draw):
    network, noise, embeds = small(pooled_embed_dim=5), draw(2, 4, 16, 16), draw(2, 7, 12)
    with torch.no_grad():
        one = network(noise, embeds, draw(2, 5))
        other = network(noise, embeds, draw(2, 5, seed=1))
    assert (one - other).abs().max() > 1e-2


def test_the_waves_of_a_tokens_place_are_4_to_256_tokens_long():
    waves = index_features(513, torch.device("cpu"))
    for wave, length in ((0, 4), (NUM_FREQUENCIES - 1, 256)):
        sine, cosine = waves[:, wave], waves[:, NUM_FREQUENCIES + wave]
        for row in (sine, cosine):
            assert torch.allclose(row[:-length], row[length:], atol=1e-3)  # it comes again after its length
            assert torch.allclose(row[: -length // 2], -row[length // 2 :], atol=1e-3)  # and upside down after half


@pytest.mark.parametrize("silenced", ["index_query", "index_value"])
def test_the_order_of_tokens_matters_to_what_is_gathered_and_to_how_it_is_weighed(silenced, draw):
    torch.manual_seed(0)
    text, embeds = SpatialText(4, 12), draw(1, 7, 12)
    with torch.no_grad():
        getattr(text, silenced).weight.zero_()
        assert (text.coarse_map(embeds, None, None) - text.coarse_map(embeds.flip(1), None, None)).abs().max() > 1e-3


def test_the_map_goes_on_smoothly_into_the_padding_of_a_window(draw):
    torch.manual_seed(0)
    with torch.no_grad():
        cut = SpatialText(4, 12)(draw(2, 4, 16, 16), Windows.of((16, 20), (16, 16)), draw(1, 7, 12))
    assert cut.shape == (2, 4, 16, 16)
    assert torch.equal(cut[1, :, :, 4:], cut[1, :, :, 3:4].expand(-1, -1, 12))


def test_the_map_is_smooth_on_a_larger_grid_and_exact_on_its_own(draw):
    torch.manual_seed(0)
    text, embeds = SpatialText(4, 12), draw(2, 7, 12)
    with torch.no_grad():
        coarse = text.coarse_map(embeds, None, None)
        assert torch.equal(text(draw(2, 4, 16, 16), Windows.of((16, 16), None), embeds), coarse)
        fine = text(draw(2, 4, 96, 168), Windows.of((96, 168), None), embeds)
    assert fine.diff(dim=3).abs().max() < coarse.diff(dim=3).abs().max() / 4
    torch.testing.assert_close(fine.mean((2, 3)), coarse.mean((2, 3)), atol=0.02, rtol=0.1)


def test_the_spatial_form_learns_a_layout_from_the_order_of_the_prompts_words():
    """Word 2 (of 4) is drawn left or right of word 4 as word 3 (of 2) says; 16 x 16, low frequencies."""
    generator = torch.Generator().manual_seed(0)
    words, places = torch.randn(10, 24, generator=generator), 0.5 * torch.randn(5, 24, generator=generator)
    pictures = torch.nn.functional.avg_pool2d(torch.randn(4, 4, 16, 8, generator=generator), 5, 1, 2) * 5

    def batch(size):
        first, relation, second = (torch.randint(0, n, (size,), generator=generator) for n in (4, 2, 4))
        start, stop = torch.full((size,), 8), torch.full((size,), 9)
        ids = torch.stack([start, first, 4 + relation, second, stop], 1)
        left, right = torch.where(relation == 0, first, second), torch.where(relation == 0, second, first)
        return words[ids] + places, torch.cat([pictures[left], pictures[right]], 3)

    torch.manual_seed(0)
    text = SpatialText(4, 24)
    optimizer = torch.optim.AdamW(text.parameters(), 2e-3)
    for _ in range(400):
        embeds, target = batch(32)
        loss = (text.coarse_map(embeds, None, None) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    embeds, target = batch(256)
    with torch.no_grad():
        error = (text.coarse_map(embeds, None, None) - target).square().mean()
    assert error < 0.1 * target.var()
