"""The text term e turns the prompt into latents (paper, Eq. 7: e = sigma(x_T, E(c))); it has two forms.

``AdaGroupNormText`` is the paper's form, and the only one that the released weights can use. It reduces a prompt to a
scale and a shift for each channel, constant over space. ``SpatialText`` gives each prompt a map. On the built-in Shapes
model, only this form learns from the prompt. Both condition every sample on its own prompt (the released training code
used the first prompt of the batch for all).
"""

from __future__ import annotations

import math

import torch
from diffusers.models.normalization import AdaGroupNorm
from torch import Tensor, nn
from torch.nn import functional as F

from npnet.networks.sizes import Windows

GRID = 16
"""Side of the coarse map of ``SpatialText``, in cells."""

NUM_QUERIES = 24
"""Learned queries of ``SpatialText``; each gathers one mixture of the tokens."""

VALUE_WIDTH = 48
"""Width to which ``SpatialText`` projects a token before it is gathered."""

HIDDEN = 256
"""Hidden width of the map from what was gathered to the coarse map."""

NUM_FREQUENCIES = 16
"""Sine and cosine pairs that tell ``SpatialText`` a token's index."""


class AdaGroupNormText(nn.Module):
    """Normalise the noise over all channels, then scale and shift each channel by the flattened prompt embeddings.

    Args:
        channels: C of the noise.
        prompt_length: L, which is fixed.
        prompt_embed_dim: D.
    """

    def __init__(self, channels: int, prompt_length: int, prompt_embed_dim: int) -> None:
        super().__init__()
        self.norm = AdaGroupNorm(prompt_length * prompt_embed_dim, channels, num_groups=1, eps=1e-6)

    def forward(
        self,
        noise: Tensor,
        windows: Windows,
        prompt_embeds: Tensor,
        pooled_prompt_embeds: Tensor | None = None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Return e for each window: ``(B * number, C, *window)``.

        Pooled embeddings and the mask are not used: the published form sees every token, padding included.
        """
        return self.norm(noise, windows.repeat(prompt_embeds.flatten(1)))


def index_features(length: int, device: torch.device) -> Tensor:
    """Return sines and cosines of the token index, wavelengths 4 to 256 tokens: ``(length, 2 * NUM_FREQUENCIES)``."""
    steps = torch.arange(NUM_FREQUENCIES, device=device) / (NUM_FREQUENCIES - 1)
    angles = torch.arange(length, device=device)[:, None] * (math.pi / 2 * 64.0**-steps)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class SpatialText(nn.Module):
    """Gather the tokens by learned queries, masked, and map the result to a coarse map of the latents.

    Each query weights a token by its content and by its place in the prompt. Both sums run over any number of tokens,
    so this form depends neither on the prompt length nor on the latent size. It replaces the two layers on flattened
    embeddings that an earlier study of Shapes used, with 1.0 M parameters instead of 40 M at SDXL's width.

    Args:
        channels: C of the noise.
        prompt_embed_dim: D.
        pooled_embed_dim: P, 0 where the backbone has no pooled embedding.
    """

    def __init__(self, channels: int, prompt_embed_dim: int, pooled_embed_dim: int = 0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(prompt_embed_dim)
        self.query = nn.Linear(prompt_embed_dim, NUM_QUERIES, bias=False)
        self.index_query = nn.Linear(2 * NUM_FREQUENCIES, NUM_QUERIES, bias=False)
        self.value = nn.Linear(prompt_embed_dim, VALUE_WIDTH)
        self.index_value = nn.Linear(2 * NUM_FREQUENCIES, VALUE_WIDTH, bias=False)
        self.hidden = nn.Linear(NUM_QUERIES * VALUE_WIDTH, HIDDEN)
        self.pooled = nn.Linear(pooled_embed_dim, HIDDEN, bias=False) if pooled_embed_dim else None
        self.to_map = nn.Linear(HIDDEN, channels * GRID * GRID)
        # wide enough that queries look at different places from the start
        nn.init.normal_(self.index_query.weight)

    def coarse_map(
        self, prompt_embeds: Tensor, pooled_prompt_embeds: Tensor | None, prompt_mask: Tensor | None
    ) -> Tensor:
        """Return the coarse map of each prompt, ``(B, C, GRID, GRID)``.

        Tokens whose mask is 0 have no weight. A prompt without any real token has an effect only through its pooled
        embedding.
        """
        tokens = self.norm(prompt_embeds)
        index = index_features(tokens.shape[1], tokens.device).to(tokens.dtype)
        scores = self.query(tokens) + self.index_query(index)
        values = self.value(tokens) + self.index_value(index)
        if prompt_mask is None:
            weights = scores.softmax(1)
        else:
            real = prompt_mask.to(torch.bool).unsqueeze(-1)
            weights = scores.masked_fill(~real, torch.finfo(scores.dtype).min).softmax(1) * real
        hidden = self.hidden((weights.transpose(1, 2) @ values).flatten(1))
        if self.pooled is not None:
            hidden = hidden + self.pooled(pooled_prompt_embeds)
        return self.to_map(F.silu(hidden)).unflatten(1, (-1, GRID, GRID))

    def forward(
        self,
        noise: Tensor,
        windows: Windows,
        prompt_embeds: Tensor,
        pooled_prompt_embeds: Tensor | None = None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Return e for each window, ``(B * number, C, *window)``: the map resized smoothly to the whole latents."""
        coarse = self.coarse_map(prompt_embeds, pooled_prompt_embeds, prompt_mask)
        if windows.size != (GRID, GRID):
            # in float32, because the CPU cannot interpolate bfloat16 in this way
            smooth = F.interpolate(coarse.float(), windows.size, mode="bicubic", align_corners=False, antialias=True)
            coarse = smooth.to(coarse.dtype)
        return windows.split_map(coarse)
