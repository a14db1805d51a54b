"""Measures of how far noise is from white noise, N(0, I).

Every measure is computed for each sample, over its channels. A value that differs from that of white noise is not a
fault in itself. A network that helps must change the noise somehow, and these measures show in which way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

LOW_FREQUENCY = 1 / 6
"""Cycles a cell, in each direction, below which a frequency is low: 5 x 5 of 16 x 16, about a tenth of white noise."""


def norm_share(noise: Tensor) -> Tensor:
    """Return each sample's norm over sqrt(d), ``(B,)``: close to 1 for white noise ``(B, C, *grid)``."""
    flat = noise.double().flatten(1)
    return flat.norm(dim=1) / math.sqrt(flat.shape[1])


def variance(noise: Tensor) -> Tensor:
    """Return each sample's variance around its own mean, ``(B,)``: close to 1 for white noise."""
    return noise.double().flatten(1).var(dim=1, correction=0)


def neighbour_correlation(noise: Tensor) -> Tensor:
    """Return the correlation of cells beside and below each other, ``(B,)``, of noise ``(B, C, ..., H, W)``.

    The mean of neighbours' products over the mean square: 0 for white noise, 1 for a constant, -1 for a chessboard.
    """
    noise = noise.double()
    products = [(noise[..., 1:, :] * noise[..., :-1, :]), (noise[..., :, 1:] * noise[..., :, :-1])]
    means = torch.stack([product.flatten(1).mean(1) for product in products]).mean(0)
    return means / noise.square().flatten(1).mean(1)


def low_frequency_share(noise: Tensor) -> Tensor:
    """Return the share of power below ``LOW_FREQUENCY`` in both directions, ``(B,)``, in [0, 1].

    White noise has the share of the frequencies that are low.
    """
    power = torch.fft.fft2(noise.double()).abs().square()
    low = low_frequencies(noise.shape[-2], noise.shape[-1]).to(noise.device)
    return (power * low).flatten(1).sum(1) / power.flatten(1).sum(1)


def low_frequencies(height: int, width: int) -> Tensor:
    """Return which frequencies of a ``(height, width)`` grid are low, in ``fft2``'s order."""
    rows, columns = (torch.fft.fftfreq(size).abs() < LOW_FREQUENCY for size in (height, width))
    return rows[:, None] & columns[None, :]


def low_pass(change: Tensor, max_frequency: float) -> Tensor:
    """Return a change ``(B, C, ..., H, W)`` without the frequencies above ``max_frequency`` in either direction.

    Args:
        change: of noise; each plane is treated alone, as periodic.
        max_frequency: in cycles a cell, in (0, 0.5].
    """
    rows, columns = (torch.fft.fftfreq(size).abs() <= max_frequency for size in change.shape[-2:])
    kept = (rows[:, None] & columns[None, :]).to(change.device)
    return torch.fft.ifft2(torch.fft.fft2(change.double()) * kept).real.to(change)


MEASURES: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "neighbour_correlation": neighbour_correlation,
        "low_frequency_share": low_frequency_share,
        "norm": norm_share,
        "variance": variance,
    }
)
"""By the names they have in results."""
