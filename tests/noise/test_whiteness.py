"""Laws of whiteness: closed forms of the patterns whose answer is known."""

import pytest
import torch

from npnet.noise.runtime.whiteness import (
    low_frequencies,
    low_frequency_share,
    neighbour_correlation,
    norm_share,
    variance,
)

SHAPE = (3, 4, 16, 16)
WHITE = torch.randn(64, 4, 16, 16, generator=torch.Generator().manual_seed(0))
PLACES = torch.arange(16)
CHESSBOARD = (1 - 2 * ((PLACES[:, None] + PLACES) % 2)).float().expand(SHAPE)


def test_white_noise_is_white():
    assert neighbour_correlation(WHITE).mean() == pytest.approx(0, abs=0.01)
    assert low_frequency_share(WHITE).mean() == pytest.approx(25 / 256, abs=0.003)
    assert norm_share(WHITE).mean() == pytest.approx(1, abs=0.01)
    assert variance(WHITE).mean() == pytest.approx(1, abs=0.01)


def test_a_constant_is_all_correlation_and_low_frequency_and_a_chessboard_is_neither():
    assert torch.allclose(neighbour_correlation(torch.full(SHAPE, 0.3)), torch.ones(3).double())
    assert torch.allclose(low_frequency_share(torch.full(SHAPE, 0.3)), torch.ones(3).double())
    assert torch.allclose(neighbour_correlation(CHESSBOARD), -torch.ones(3).double())
    assert torch.allclose(low_frequency_share(CHESSBOARD), torch.zeros(3).double(), atol=1e-12)


@pytest.mark.parametrize("measure", [neighbour_correlation, low_frequency_share])
def test_whiteness_does_not_depend_on_the_size_of_values_and_norm_is_proportional_to_it(measure):
    assert torch.allclose(measure(3 * WHITE), measure(WHITE))
    assert torch.allclose(norm_share(3 * WHITE), 3 * norm_share(WHITE))
    assert torch.allclose(variance(3 * WHITE), 9 * variance(WHITE))


def test_norm_and_variance_differ_by_the_mean():
    shifted = WHITE + 2
    assert torch.allclose(norm_share(shifted).square(), variance(WHITE) + shifted.double().flatten(1).mean(1).square())
    assert torch.allclose(variance(shifted), variance(WHITE))


@pytest.mark.parametrize(("frequency", "is_low"), [(0, True), (2, True), (3, False), (8, False)])
def test_a_wave_is_low_or_not_by_its_frequency(frequency, is_low):
    wave = torch.cos(2 * torch.pi * frequency * PLACES / 16).expand(SHAPE)
    assert torch.allclose(low_frequency_share(wave), torch.full((3,), float(is_low)).double(), atol=1e-9)


def test_any_grid_has_its_share_of_low_frequencies():
    assert low_frequencies(16, 16).sum() == 25
    assert low_frequencies(12, 18).sum() == 3 * 5
