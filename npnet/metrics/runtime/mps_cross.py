"""MPS's cross model: the picture's tokens read the prompt's, by the names of the published checkpoint.

Each of its layers adds two things to the tokens, both parallel blocks as in PaLM (attention and a gated feed-forward
part side by side on the same normalised input): a look at the text, and self-attention with rotary positions. All heads
share one key and one value.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossModel(nn.Module):
    """``(B, N, dim)`` picture tokens and ``(B, L, dim)`` text tokens -> ``(B, N, dim)``."""

    def __init__(self, dim: int = 1024, num_layers: int = 4, num_heads: int = 16, head_dim: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([Residual(Look(dim, num_heads, head_dim)), Residual(Mix(dim, num_heads, head_dim))])
            for _ in range(num_layers)
        )

    def forward(self, picture: Tensor, text: Tensor, bias: Tensor) -> Tensor:
        """``bias`` is added to the attention on the text, ``(B, 1, L)``: 0, or minus infinity for what is not read."""
        layers: Any = self.layers
        for look, mix in layers:
            picture = look(picture, text, bias)
            picture = mix(picture)
        return picture


class Residual(nn.Module):
    """Adds what ``fn`` makes of its input to it."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        """Return ``fn(x) + x``."""
        return self.fn(x, *rest) + x


class Norm(nn.Module):
    """Layer normalisation with a learned scale; its shift is saved, and is zero."""

    bias: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.register_buffer("bias", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias)


class Gate(nn.Module):
    """SwiGLU with the halves as published: the second one is the gate."""

    def forward(self, x: Tensor) -> Tensor:
        """``(..., 2 D)`` -> ``(..., D)``."""
        value, gate = x.chunk(2, dim=-1)
        return F.silu(gate) * value


class Look(nn.Module):
    """Attention of the picture on the text, beside a feed-forward part."""

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = Norm(dim)
        self.to_q = nn.Linear(dim, num_heads * head_dim, bias=False)
        self.to_kv = nn.Linear(dim, 2 * head_dim, bias=False)
        self.to_out = nn.Linear(num_heads * head_dim, dim, bias=False)
        self.ff = nn.Sequential(nn.Linear(dim, 8 * dim, bias=False), Gate(), nn.Linear(4 * dim, dim, bias=False))

    def forward(self, x: Tensor, text: Tensor, bias: Tensor) -> Tensor:
        """``(B, N, D)`` -> ``(B, N, D)``."""
        x = self.norm(x)
        key, value = self.to_kv(text).chunk(2, dim=-1)
        seen = attend(split(self.to_q(x), self.num_heads), key, value, bias[:, None])
        return self.to_out(seen) + self.ff(x)


class Mix(nn.Module):
    """Self-attention with rotary positions, beside a feed-forward part; both from one projection."""

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.widths = (num_heads * head_dim, head_dim, head_dim, 8 * dim)
        self.norm = Norm(dim)
        self.rotary_emb = nn.Module()
        self.rotary_emb.register_buffer("inv_freq", 1 / 10_000 ** (torch.arange(0, head_dim, 2).float() / head_dim))
        self.fused_attn_ff_proj = nn.Linear(dim, sum(self.widths), bias=False)
        self.attn_out = nn.Linear(num_heads * head_dim, dim, bias=False)
        self.ff_out = nn.Sequential(Gate(), nn.Linear(4 * dim, dim, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` -> ``(B, N, D)``."""
        query, key, value, rest = self.fused_attn_ff_proj(self.norm(x)).split(self.widths, dim=-1)
        frequencies: Any = self.rotary_emb.inv_freq
        places = torch.arange(x.shape[1], device=x.device, dtype=frequencies.dtype)
        angles = torch.outer(places, frequencies).repeat(1, 2)
        query, key = turn(split(query, self.num_heads), angles), turn(key, angles)
        return self.attn_out(attend(query, key, value, None)) + self.ff_out(rest)


def split(x: Tensor, num_heads: int) -> Tensor:
    """``(B, N, heads * D)`` -> ``(B, heads, N, D)``."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """Attend with H heads ``(B, H, N, D)`` to one common key and value ``(B, L, D)`` -> ``(B, N, H * D)``."""
    mixed = F.scaled_dot_product_attention(query, key[:, None], value[:, None], attn_mask=bias)
    return mixed.transpose(1, 2).flatten(2)


def turn(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate the two halves of the last axis against each other by ``angles``, ``(N, D)``."""
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()
