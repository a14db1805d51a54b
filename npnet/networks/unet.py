"""The residual branch as a small U-Net, with the noise and the text term as separate channels.

Re-denoise sampling adds K (w_l - w_w)(eps_c - eps_0) to the noise. This is a difference of two outputs of a denoiser at
``noise``, and is mostly of low frequency. Two thirds of it depend on the noise, and half of that on noise and prompt
together. A convolutional U-Net suits such a function. It gets the noise and the text term as separate channels (the
paper adds them up), so that its answer to the noise can depend on the prompt. Its last convolution starts at zero, so
that it learns a difference. It depends on no size: noise of any size goes through whole, without windows.
``docs/network_study.md`` compares it with the Swin.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from npnet.networks.arguments import GROUPS

NUM_POSITIONS = 8
"""Planes that tell the U-Net where a cell is: cosine and sine of pi and 2 pi times the row and the column."""


def normalisation(width: int) -> nn.GroupNorm:
    """Return the normalisation of ``width`` channels."""
    return nn.GroupNorm(min(GROUPS, width // 4), width)


def positions(height: int, width: int, like: Tensor) -> Tensor:
    """Return position features ``(1, NUM_POSITIONS, height, width)``, which scale with the grid."""
    planes = []
    for frequency in (1, 2):
        for wave in (torch.cos, torch.sin):
            for count, view in ((height, (-1, 1)), (width, (1, -1))):
                cell = (torch.arange(count, device=like.device) + 0.5) / count
                planes.append(wave(math.pi * frequency * cell).view(view).expand(height, width))
    return torch.stack(planes).unsqueeze(0).to(like.dtype)


def _start_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Block(nn.Module):
    """Two normalised 3 x 3 convolutions beside a shortcut; the second starts at zero."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.before, self.first = normalisation(width_in), nn.Conv2d(width_in, width, 3, padding=1)
        self.between, self.second = normalisation(width), nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        _start_at_zero(self.second)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(B, width_in, h, w)`` to ``(B, width, h, w)``."""
        hidden = self.first(F.silu(self.before(features)))
        return self.shortcut(features) + self.second(F.silu(self.between(hidden)))


class UNetBranch(nn.Module):
    """Predict a residual from the noise and the text term.

    Args:
        channels: C of the noise.
        widths: channels of each level, each half as high and wide as the one before; multiples of 8.
        patch_size: p x p cells enter and leave the first level as one position, for large latents.
    """

    def __init__(self, channels: int, widths: list[int], patch_size: int = 1) -> None:
        super().__init__()
        self.patch_size = patch_size
        cells = patch_size**2
        self.entry = nn.Conv2d(2 * channels * cells + NUM_POSITIONS, widths[0], 3, padding=1)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(Block(width, width) for width in widths)
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairs)
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)
        self.up = nn.ModuleList(Block(2 * fine, fine) for fine, _ in pairs)
        self.last = normalisation(widths[0])
        self.exit = nn.Conv2d(widths[0], channels * cells, 3, padding=1)
        _start_at_zero(self.exit)

    def forward(self, noise: Tensor, text: Tensor | None = None) -> Tensor:
        """Map noise ``(B, C, h, w)`` and the text term of the same shape (or None) to a residual."""
        seen = torch.cat([noise, torch.zeros_like(noise) if text is None else text], 1)
        height, width = noise.shape[-2:]
        right, below = -width % self.patch_size, -height % self.patch_size
        seen = F.pixel_unshuffle(F.pad(seen, (0, right, 0, below)), self.patch_size)
        planes = positions(seen.shape[-2], seen.shape[-1], seen).expand(len(seen), -1, -1, -1)
        features = self.down[0](self.entry(torch.cat([seen, planes], 1)))
        skipped = []
        for shrink, block in zip(self.shrink, self.down[1:], strict=True):
            skipped.append(features)
            features = block(shrink(features))
        for level in reversed(range(len(skipped))):
            fine = skipped[level]
            features = F.interpolate(self.grow[level](features), fine.shape[-2:], mode="nearest")
            features = self.up[level](torch.cat([features, fine], 1))
        residual = F.pixel_shuffle(self.exit(F.silu(self.last(features))), self.patch_size)
        return residual[:, :, :height, :width]
