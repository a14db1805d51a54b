"""Projection onto noise with the spectrum of white Gaussian noise, block by block (arXiv 2602.08646).

A sample's d numbers are taken as one row. Their unitary Fourier transform has d / 2 independent complex values
y_0 = (x_0 + i x_{d/2}) / sqrt(2), y_k = x_k, which are CN(0, 1) where the numbers are N(0, 1). Each block of B
neighbouring values is moved to the nearest one with the norms that are expected of it,
|y|_1 = B sqrt(pi) / 2 and |y|_2^2 = B: no frequency can take power from the others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from npnet.noise.reno import BLOCK_SIZE, check_white

MEAN = BLOCK_SIZE * math.sqrt(math.pi) / 2
"""The first norm of a block."""


def project_to_white(values: Tensor) -> Tensor:
    """Return the nearest point of the set to each sample, ``(B, C, *grid)`` float32; any scale, as a gradient has.

    White noise itself moves little: cosine 0.99. The result has a mean square of 1 exactly.

    Raises:
        UserError: a sample's numbers do not divide into blocks.
    """
    check_white(values[0].numel())
    spectrum = to_spectrum(values.float().flatten(1))
    blocks = spectrum.unflatten(1, (-1, BLOCK_SIZE))
    white = torch.polar(project_sizes(blocks.abs()), blocks.angle())
    return from_spectrum(white.flatten(1)).view_as(values)


def to_spectrum(row: Tensor) -> Tensor:
    """Return the independent complex values ``(B, d / 2)`` of rows ``(B, d)``."""
    full = torch.fft.rfft(row, norm="ortho")
    ends = torch.complex(full[:, 0].real, full[:, -1].real) / math.sqrt(2)
    return torch.cat([ends[:, None], full[:, 1:-1]], dim=1)


def from_spectrum(spectrum: Tensor) -> Tensor:
    """Undo ``to_spectrum``."""
    ends = torch.view_as_real(spectrum[:, :1]) * math.sqrt(2)
    first, last = (torch.complex(end, torch.zeros_like(end)) for end in ends.unbind(-1))
    return torch.fft.irfft(torch.cat([first, spectrum[:, 1:], last], dim=1), norm="ortho")


def project_sizes(sizes: Tensor) -> Tensor:
    """Return the nearest sizes, none negative, with the two norms of a block; ``(..., B)``.

    Where only k sizes stay above 0, they are the k largest, each moved along the line from their mean: Thom and Palm,
    "Sparse activity and sparse connectivity in supervised learning" (JMLR 2013). The largest k that fits is the answer.
    """
    ranked = sizes.sort(-1, descending=True).values
    smallest = math.floor(MEAN**2 / BLOCK_SIZE) + 1  # fewer sizes with this mean are longer than the second norm
    count = torch.arange(smallest, BLOCK_SIZE + 1, device=sizes.device)
    mean = ranked.cumsum(-1)[..., smallest - 1 :] / count
    spread = ranked.square().cumsum(-1)[..., smallest - 1 :] / count - mean.square()
    stretch = ((BLOCK_SIZE / count - (MEAN / count) ** 2) / spread.clamp_min(1e-30)).sqrt()
    fits = MEAN / count + stretch * (ranked[..., smallest - 1 :] - mean) > 0
    chosen = (fits * count).argmax(-1, keepdim=True)
    mean, stretch = mean.gather(-1, chosen), stretch.gather(-1, chosen)
    return (MEAN / count[chosen] + stretch * (sizes - mean)).clamp_min(0)
