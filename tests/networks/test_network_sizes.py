import pytest
import torch
from torch.nn import functional as F

from npnet.networks.sizes import Windows, nearest_index


def correlation(noise, axis):
    """Return the correlation of neighbours along an axis, each channel's mean removed."""
    noise = noise - noise.mean((0, 2, 3), keepdim=True)
    first, second = noise.narrow(axis, 0, noise.shape[axis] - 1), noise.narrow(axis, 1, noise.shape[axis] - 1)
    return ((first * second).mean() / noise.square().mean()).item()


def is_white(noise, spread):
    """Check mean, variance and neighbour correlation of noise within ``spread`` (about 4 standard errors)."""
    assert abs(noise.mean().item()) < spread
    assert abs(noise.var().item() - 1) < 2 * spread
    assert abs(correlation(noise, 2)) < spread
    assert abs(correlation(noise, 3)) < spread


@pytest.mark.parametrize("size", [(16, 16), (32, 16), (24, 42), (9, 13), (1, 33)])
def test_join_undoes_split(size, draw):
    noise = draw(3, 4, *size)
    windows = Windows.of(size, (16, 16))
    assert windows.split(noise).shape == (3 * windows.number, 4, 16, 16)
    assert torch.equal(windows.join(windows.split(noise)), noise)
    assert torch.equal(windows.join(windows.split_map(noise)), noise)


def test_windows_are_cut_in_reading_order_and_rows_follow_their_sample(draw):
    noise = draw(2, 4, 32, 48)
    windows = Windows.of((32, 48), (16, 16))
    cut = windows.split(noise)
    assert torch.equal(cut[4], noise[0, :, 16:, 16:32])
    assert torch.equal(cut[6 + 2], noise[1, :, :16, 32:])
    assert windows.repeat(torch.tensor([7, 8])).tolist() == [7] * 6 + [8] * 6


def test_padding_is_white_the_same_for_every_sample_and_every_call(draw):
    windows = Windows.of((10, 40), (64, 64))
    cut = windows.split(draw(2, 4, 10, 40))
    assert torch.equal(cut[0, :, 10:], cut[1, :, 10:])
    assert torch.equal(cut, windows.split(draw(2, 4, 10, 40)))
    is_white(cut[:1, :, 10:], 0.04)


@pytest.mark.parametrize(("source", "target"), [(7, 128), (768, 128), (96, 16), (8, 16), (5, 9), (1, 4)])
def test_nearest_index_is_torchs_nearest_resize(source, target, draw):
    line = draw(1, 1, source)
    assert torch.equal(
        line[..., nearest_index(source, target, line.device)], F.interpolate(line, target, mode="nearest")
    )


@pytest.mark.parametrize("size", [(24, 42), (16, 16), (12, 10)])
def test_output_keeps_unit_variance_and_whiteness_on_any_size(size, small, draw):
    network = small(text_term="off", beta_init=0.1)
    noise = draw(64 * 256 // (size[0] * size[1]), 4, *size)
    with torch.no_grad():
        golden = network(noise)
    assert not torch.equal(golden, noise)
    is_white(golden, 0.02)


def test_bilinear_resizing_would_not_pass_as_white(draw):
    noise = draw(16, 4, 24, 42)
    resized = F.interpolate(F.interpolate(noise, (16, 16), mode="bilinear"), (24, 42), mode="bilinear")
    with pytest.raises(AssertionError):
        is_white(resized, 0.02)


def test_released_weights_work_on_a_768_by_1344_picture(official_network, draw):
    noise, embeds = draw(1, 4, 96, 168), draw(1, 77, 2048, seed=1)
    with torch.no_grad():
        golden = official_network(noise, embeds)
        square = official_network(draw(1, 4, 128, 128), embeds)
    assert golden.shape == noise.shape
    # the weights' own effect (variance 1.006) is the same as at their own size
    assert abs(golden.var().item() - square.var().item()) < 0.03
    is_white(golden / square.std(), 0.02)


def test_two_windows_are_two_pictures(small, draw):
    network = small(text_term="ada_group_norm")
    left, right, embeds = draw(2, 4, 16, 16), draw(2, 4, 16, 16, seed=1), draw(2, 7, 12)
    with torch.no_grad():
        wide = network(torch.cat([left, right], 3), embeds)
        apart = torch.cat([network(left, embeds), network(right, embeds)], 3)
    torch.testing.assert_close(wide, apart, atol=1e-5, rtol=0)


def test_the_padding_does_not_depend_on_the_rest_of_the_batch(small, draw):
    network, noise, embeds = small(), draw(3, 4, 20, 28), draw(3, 7, 12)
    with torch.no_grad():
        together = network(noise, embeds)
        for row in range(3):
            torch.testing.assert_close(network(noise[[row]], embeds[[row]]), together[[row]], atol=1e-5, rtol=0)


def test_the_spatial_text_term_spans_the_picture_instead_of_repeating_in_each_window(small, draw):
    network, embeds = small(singular_value_branch="off"), draw(1, 7, 12)
    network.beta.data.zero_()
    whole = small(singular_value_branch="off", residual_branch=False)
    whole.load_state_dict({k: v for k, v in network.state_dict().items() if k.startswith(("text", "alpha"))})
    noise = draw(1, 4, 20, 40)
    with torch.no_grad():
        torch.testing.assert_close(network(noise, embeds), whole(noise, embeds), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(8, 12), (24, 20)])
def test_a_network_trained_for_an_oblong_size_handles_it_natively(size, small, draw):
    network, noise = small(latent_size=size), draw(2, 4, *size)
    with torch.no_grad():
        golden = network(noise, draw(2, 7, 12), decomposition=network.decompose(noise))
    assert golden.shape == noise.shape and golden.isfinite().all()


def test_sixteen_channels_are_handled(small, draw):
    network, noise = small(latent_channels=16), draw(2, 16, 24, 16)
    with torch.no_grad():
        golden = network(noise, draw(2, 256, 12))
    assert golden.shape == noise.shape and golden.isfinite().all()
