"""Attention maps of a diffusers UNet, and InitNO's losses on them.

``AttentionMaps`` captures the maps of one resolution while the UNet runs as usual. Each processor still computes the
layer's output, and the maps are computed in addition. So the predictions equal those of the sampling, bit for bit.

Maps are means over layers and heads. Shape letters: h w cells of the maps, L tokens, N chosen tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import torch
import torch.nn.functional as F
from scipy.ndimage import label
from torch import Tensor

MAX_CELLS = 16 * 16
"""The largest maps that are used: 16 x 16, InitNO's, where a UNet has several sizes."""


def map_grids(unet: Any, grid: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the sizes (h, w) of the UNet's attention maps for latents of size ``grid``, largest first."""
    kinds = unet.config.down_block_types
    levels = {level for level, kind in enumerate(kinds) if "CrossAttn" in kind}
    if getattr(unet.mid_block, "attentions", None):
        levels.add(len(kinds) - 1)
    height, width = grid
    return [(math.ceil(height / 2**level), math.ceil(width / 2**level)) for level in sorted(levels)]


def choose_grid(unet: Any, grid: tuple[int, int]) -> tuple[int, int]:
    """Return the largest size of at most 16 x 16 cells, or the smallest there is: 16 x 16 for SD 1.x at 512 pixels."""
    sizes = map_grids(unet, grid)
    return next((size for size in sizes if math.prod(size) <= MAX_CELLS), sizes[-1])


class AttentionMaps:
    """A context in which the UNet's attention maps of size ``grid`` are captured; leaves the UNet as it was.

    Args:
        unet: a ``UNet2DConditionModel``.
        grid: (h, w) of the maps to capture, see ``map_grids``.
    """

    def __init__(self, unet: Any, grid: tuple[int, int]) -> None:
        self.unet, self.grid = unet, grid
        self._processors = dict(unet.attn_processors)
        self._found: dict[bool, list[Tensor]] = {False: [], True: []}

    def __enter__(self) -> Self:
        self.unet.set_attn_processor({name: _Capture(inner, self) for name, inner in self._processors.items()})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unet.set_attn_processor(dict(self._processors))
        self.clear()

    def clear(self) -> None:
        """Forget the maps of the last forward."""
        self._found = {False: [], True: []}

    def add(self, probabilities: Tensor, is_cross: bool) -> None:
        """Keep one layer's maps, ``(B, cells, keys)``, already averaged over heads."""
        self._found[is_cross].append(probabilities.float())

    def cross(self) -> Tensor:
        """Return the cross-attention of the last forward: ``(B, h, w, L)``."""
        return self._mean(True)

    def self_attention(self) -> Tensor:
        """Return the self-attention of the last forward: ``(B, h, w, h w)``."""
        return self._mean(False)

    def _mean(self, is_cross: bool) -> Tensor:
        return torch.stack(self._found[is_cross]).mean(0).unflatten(1, self.grid)


class _Capture:
    """An attention processor that lets ``inner`` do its work and keeps the layer's maps."""

    def __init__(self, inner: Any, maps: AttentionMaps) -> None:
        self.inner, self.maps = inner, maps

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        if hidden_states.ndim == 3 and hidden_states.shape[1] == math.prod(self.maps.grid):
            source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            if encoder_hidden_states is not None and attn.norm_cross:
                source = attn.norm_encoder_hidden_states(source)
            mask = attn.prepare_attention_mask(attention_mask, source.shape[1], len(source))
            query = attn.head_to_batch_dim(attn.to_q(hidden_states))
            key = attn.head_to_batch_dim(attn.to_k(source))
            probabilities = attn.get_attention_scores(query, key, mask).unflatten(0, (len(hidden_states), -1))
            self.maps.add(probabilities.mean(1), encoder_hidden_states is not None)
        return self.inner(attn, hidden_states, encoder_hidden_states, attention_mask, *args, **kwargs)


def token_maps(cross: Tensor, tokens: Sequence[int]) -> Tensor:
    """Return the smoothed maps ``(N, h, w)`` of the chosen tokens of one sample.

    Args:
        cross: ``(h, w, L)``; the start token and the last place are left out, the rest sharpened by a softmax of 100
            times the attention, as published.
        tokens: places in the prompt, the start token being 0.
    """
    sharpened = torch.softmax(100 * cross[..., 1:-1], dim=-1)
    return smooth(torch.stack([sharpened[..., token - 1] for token in tokens]))


def smooth(maps: Tensor) -> Tensor:
    """Smooth ``(N, h, w)`` by InitNO's kernel of 3 x 3, exp(-x^2) in each direction, with reflected edges."""
    line = torch.exp(-torch.tensor([-1.0, 0.0, 1.0], device=maps.device).square())
    kernel = torch.outer(line, line)
    kernel = (kernel / kernel.sum()).to(maps)[None, None]
    mode = "reflect" if min(maps.shape[-2:]) > 1 else "replicate"
    return F.conv2d(F.pad(maps[:, None], (1, 1, 1, 1), mode=mode), kernel)[:, 0]


def response_loss(maps: Tensor) -> Tensor:
    """Return L_cross: the largest of 1 - peak over the tokens' maps ``(N, h, w)``; 0 where every token peaks at 1."""
    return (1 - maps.flatten(1).amax(1)).clamp_min(0).amax()


def conflict_loss(self_maps: Tensor) -> Tensor:
    """Return L_self: how much of the tokens' self-attention ``(N, h, w)`` overlaps, averaged over pairs, in [0, 0.5].

    0 for disjoint maps, 0.5 for equal ones, 0 for a single token.
    """
    count = len(self_maps)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    if not pairs:
        return self_maps.sum() * 0
    overlaps = [
        torch.minimum(self_maps[i], self_maps[j]).sum() / (self_maps[i].sum() + self_maps[j].sum() + 1e-6)
        for i, j in pairs
    ]
    return torch.stack(overlaps).mean()


def clean_loss(maps: Tensor) -> Tensor:
    """Return L_clean: for each token, the highest value outside its object, where that exceeds the lowest inside.

    A token's object is what Otsu's threshold keeps of its map ``(N, h, w)``, and of that the part around its peak.
    """
    total = maps.sum() * 0
    for token_map in maps:
        mask = object_mask(token_map)
        outside = torch.where(mask, 0.0, token_map).amax()
        inside = torch.where(mask, token_map, 1.0).amin()
        total = total + torch.where(outside > inside, outside, 0.0)
    return total


def object_mask(token_map: Tensor) -> Tensor:
    """Return ``(h, w)`` bool: the cells above Otsu's threshold that are connected to the peak by edges."""
    levels = to_levels(token_map.detach().float().cpu())
    parts, _ = label((levels > otsu_threshold(levels)).numpy())
    parts = torch.from_numpy(parts)
    own = parts.flatten()[token_map.detach().cpu().argmax()]
    return ((parts == own) & (own > 0)).to(token_map.device)


def to_levels(values: Tensor) -> Tensor:
    """Return values in [0, 1] as whole numbers from 0 to 255."""
    return (values.clamp(0, 1) * 255).long()


def otsu_threshold(levels: Tensor) -> int:
    """Return Otsu's threshold of whole numbers from 0 to 255: what is above it differs most from what is not."""
    counts = torch.bincount(levels.flatten(), minlength=256).double()
    sums = (counts * torch.arange(256, dtype=torch.float64)).cumsum(0)
    below = counts.cumsum(0)
    above = counts.sum() - below
    difference = sums / below.clamp_min(1) - (sums[-1] - sums) / above.clamp_min(1)
    return int((below * above * difference.square()).argmax())


def peak_self_maps(self_attention: Tensor, maps: Tensor) -> Tensor:
    """Return the smoothed self-attention ``(N, h, w)`` of each token's peak.

    Args:
        self_attention: ``(h, w, h w)``.
        maps: ``(N, h, w)``, the tokens' cross-attention.
    """
    peaks = maps.flatten(1).argmax(1)
    return smooth(self_attention.flatten(0, 1)[peaks].unflatten(1, maps.shape[1:]))
