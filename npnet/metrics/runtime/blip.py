"""BLIP's picture-grounded text encoder (Li et al. 2022), with the names of its published checkpoints.

A BERT whose every layer looks at the picture between its self-attention and its feed-forward part. The picture encoder
is a ViT of timm, whose names and mathematics are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

MASKED = -10_000.0
"""Added to the attention of filling tokens, as BLIP does: not quite minus infinity."""


@dataclass(frozen=True)
class TextConfig:
    """What of BLIP's ``med_config.json`` matters; ``encoder_width`` is the picture encoder's."""

    vocab_size: int = 30524
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12
    encoder_width: int = 1024


@dataclass(frozen=True)
class VisionConfig:
    """BLIP's large ViT."""

    image_size: int = 224
    patch_size: int = 16
    embed_dim: int = 1024
    depth: int = 24
    num_heads: int = 16


class Blip(nn.Module):
    """Picture and text together: pixels and token ids -> ``(B, L, D)``."""

    def __init__(self, text: TextConfig, vision: VisionConfig) -> None:
        super().__init__()
        self.visual_encoder = make_vision(vision)
        self.text_encoder = TextEncoder(text)

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden states of the text, ``(B, L, D)``."""
        return self.text_encoder(ids, mask, self.visual_encoder.forward_features(pixels))


def make_vision(config: VisionConfig) -> Any:
    """Build the ViT: class token, learned positions, normalisation before each block and at the end (eps 1e-6)."""
    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        num_classes=0,
        global_pool="",
    )


class TextEncoder(nn.Module):
    """BERT with cross-attention in every layer; no token types."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, ids: Tensor, mask: Tensor, picture: Tensor) -> Tensor:
        """Token ids and mask ``(B, L)``, picture ``(B, N, W)`` -> ``(B, L, D)``."""
        hidden = self.embeddings(ids)
        bias = (1.0 - mask[:, None, None, :].to(hidden.dtype)) * MASKED
        for layer in self.encoder.layer:  # type: ignore[union-attr]
            hidden = layer(hidden, bias, picture)
        return hidden


class Embeddings(nn.Module):
    """Words plus places, normalised."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, L)`` -> ``(B, L, D)``."""
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(places))


class Layer(nn.Module):
    """Self-attention, a look at the picture, feed-forward; each is added to its input and then normalised."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = Attention(config, config.hidden_size)
        self.crossattention = Attention(config, config.encoder_width)
        self.intermediate = nn.Module()
        self.intermediate.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = Output(config.intermediate_size, config)

    def forward(self, hidden: Tensor, bias: Tensor, picture: Tensor) -> Tensor:
        """``(B, L, D)`` -> ``(B, L, D)``."""
        hidden = self.attention(hidden, hidden, bias)
        hidden = self.crossattention(hidden, picture, None)
        return self.output(F.gelu(self.intermediate.dense(hidden)), hidden)  # type: ignore[operator]


class Attention(nn.Module):
    """Multi-head attention of ``hidden`` on ``context``, with its output layer."""

    def __init__(self, config: TextConfig, context_width: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.self = nn.Module()
        self.self.query = nn.Linear(width, width)
        self.self.key = nn.Linear(context_width, width)
        self.self.value = nn.Linear(context_width, width)
        self.output = Output(width, config)

    def forward(self, hidden: Tensor, context: Tensor, bias: Tensor | None) -> Tensor:
        """``(B, L, D)`` and ``(B, N, W)`` -> ``(B, L, D)``."""
        layers: Any = self.self
        query, key, value = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (layers.query(hidden), layers.key(context), layers.value(context))
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.output(mixed.transpose(1, 2).flatten(2), hidden)


class Output(nn.Module):
    """A linear layer, the residual, and the normalisation after it."""

    def __init__(self, width: int, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, update: Tensor, hidden: Tensor) -> Tensor:
        """Add the update to ``hidden``."""
        return self.LayerNorm(self.dense(update) + hidden)
