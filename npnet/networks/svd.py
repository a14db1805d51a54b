"""The singular-value branch: keep the singular vectors of the noise, predict a change of its spectrum (paper, Eq. 6).

Symbols of the paper: x_T = U Sigma V^T is ``Decomposition``; phi, the sum of three embeddings, is ``left`` + ``right``
+ ``spectrum``; g is ``attention``; f is ``head``. The noise of one sample becomes one matrix by laying its channels out
as tiles: 4 channels as 2 x 2, 16 as 4 x 4.

**Signs.** A pair of singular vectors (u_i, v_i) is determined only up to a common sign, and the branch depends on it:
with random signs, the output of the reference weights changed by 8 % of the branch's effect. There are two conventions:

* ``lapack``: the signs LAPACK's float32 SVD returns on the CPU. The released weights were trained with whatever signs
  their library returned, so there is no better choice for them.
* ``canonical``: sum(u_i ** 3) >= 0. For training here: the result does not depend on the library that computed the
  decomposition.
  An odd function of u_i must vanish somewhere, so no rule is free of near ties. In a test, 800,000 random vectors were
  disturbed by 1e-4 of the size of their entries (rounding is a thousandth of that). The sum of cubes changed its sign
  for 40 of them, the largest entry for 61, and the plain sum for 24. But the plain sum is nothing but rounding for
  noise with centred rows.

The decomposition always runs on the CPU in float32: it needs no gradient, the data loader's workers do it in training,
and one backend for training and inference gives the same signs in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from npnet.fields import checked
from npnet.networks.arguments import Signs
from npnet.records import require_noise

NUM_HEADS = 8
"""Attention heads over the tokens, one token for each singular value."""

HIDDEN = 64
"""Hidden width of the embeddings of U and V."""


class Decomposition(NamedTuple):
    """The thin SVD of the tiled noise; ``(a h, c w)`` is its matrix and ``k`` the smaller side.

    Attributes:
        U: ``(B, a h, k)`` left singular vectors as columns. Stored in float16 it moves the output by about 1e-4.
        S: ``(B, k)`` singular values, descending.
        Vh: ``(B, k, c w)`` right singular vectors as rows.
    """

    U: Tensor
    S: Tensor
    Vh: Tensor


def tiling(channels: int) -> tuple[int, int]:
    """Return the most nearly square ``(a, c)`` with ``a * c == channels`` and ``a <= c``."""
    rows = max(d for d in range(1, math.isqrt(channels) + 1) if channels % d == 0)
    return rows, channels // rows


def matrix_shape(channels: int, latent_size: Sequence[int]) -> tuple[int, int]:
    """Return ``(a h, c w)``, the shape of the matrix that noise ``(channels, h, w)`` becomes."""
    (a, c), (h, w) = tiling(channels), latent_size
    return a * h, c * w


def tile(noise: Tensor) -> Tensor:
    """Lay the channels of ``(..., C, h, w)`` out as tiles: ``(..., a h, c w)``, channel ``c * row + column``."""
    a, c = tiling(noise.shape[-3])
    return noise.unflatten(-3, (a, c)).transpose(-3, -2).flatten(-2).flatten(-3, -2)


def untile(matrix: Tensor, channels: int) -> Tensor:
    """Undo ``tile``: ``(..., a h, c w)`` -> ``(..., C, h, w)``."""
    a, c = tiling(channels)
    return matrix.unflatten(-1, (c, -1)).unflatten(-3, (a, -1)).transpose(-3, -2).flatten(-4, -3)


@torch.no_grad()
def canonical_signs(decomposition: Sequence[Tensor]) -> Decomposition:
    """Flip pairs of singular vectors so that ``sum(u_i ** 3) >= 0``; the module's docstring says why."""
    U, S, Vh = decomposition
    sign = torch.where(U.float().pow(3).sum(-2) >= 0, 1.0, -1.0).to(U.dtype)
    return Decomposition(U * sign.unsqueeze(-2), S, Vh * sign.unsqueeze(-1))


@torch.no_grad()
def decompose(noise: Tensor, signs: Signs = "canonical") -> Decomposition:
    """Return the SVD of the tiled noise, computed by LAPACK in float32 on the CPU, outside autograd.

    ``NPNet.decompose`` calls it with the network's own convention; call it in the workers of a data loader, so that the
    training step needs no SVD.

    Args:
        noise: ``(C, h, w)`` or ``(B, C, h, w)``, any floating dtype, finite.
        signs: ``canonical``, or ``lapack`` for the released weights.

    Returns:
        float32 tensors on the noise's device, with a batch axis where the noise has one.

    Raises:
        ValueError: the noise is of whole numbers, holds NaN or infinity, or the convention is unknown.
    """
    checked(Signs, signs, "singular_vector_signs")
    require_noise(noise)
    parts = Decomposition(*torch.linalg.svd(tile(noise.detach().cpu().float()), full_matrices=False))
    if signs == "canonical":
        parts = canonical_signs(parts)
    return Decomposition(*(part.to(noise.device) for part in parts))


class MeanAttention(nn.Module):
    """Multi-head self-attention over the tokens, then their mean: g of Eq. 6, without position, residual or norm.

    The projection is linear, so it is applied once to the mean instead of to every token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``(B, k, width)`` to ``(B, width)``."""
        q, k, v = self.qkv(tokens).unflatten(-1, (3, NUM_HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).mean(-2).flatten(1))


class SingularValueBranch(nn.Module):
    """Predict the change of the singular values from the whole decomposition.

    Args:
        channels: C of the noise.
        latent_size: ``(h, w)`` of the noise.
        with_attention: False gives the form of the paper's SDXL training script: ``head`` on every token, then the
            mean. The paper's inference code has the form with attention.
    """

    def __init__(self, channels: int, latent_size: Sequence[int], with_attention: bool = True) -> None:
        super().__init__()
        rows, columns = matrix_shape(channels, latent_size)
        rank = min(rows, columns)
        width = -(-rank // NUM_HEADS) * NUM_HEADS
        self.left = nn.Sequential(nn.Linear(rows, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width))
        self.right = nn.Sequential(nn.Linear(columns, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width))
        self.spectrum = nn.Linear(rank, width)
        self.attention = MeanAttention(width) if with_attention else None
        self.head = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, rank))

    def spectrum_change(self, decomposition: Decomposition) -> Tensor:
        """Return what is added to the singular values, ``(B, k)``."""
        U, S, Vh = decomposition
        tokens = self.left(U.transpose(-2, -1)) + self.right(Vh) + self.spectrum(S).unsqueeze(1)
        if self.attention is None:
            return self.head(tokens).mean(1)
        return self.head(self.attention(tokens))

    def forward(self, decomposition: Decomposition, channels: int) -> Tensor:
        """Return the branch's change of the noise, U diag(change) V^T, ``(B, C, h, w)``.

        Added to the noise it equals the paper's U diag(S + change) V^T, but does not rebuild the noise from its
        factors: 1e-5 closer in float32, and exact where the change is zero.
        """
        U, _, Vh = decomposition
        change = self.spectrum_change(decomposition).to(U.dtype)
        return untile((U * change.unsqueeze(1)) @ Vh, channels)
