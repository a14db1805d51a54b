"""The scorer of ``npnet.metrics.imagereward``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from npnet.metrics.imagereward import FILES, ImageReward
from npnet.metrics.runtime.blip import Blip, TextConfig, VisionConfig
from npnet.metrics.runtime.clip import tokenize
from npnet.metrics.runtime.head import LinearHead
from npnet.metrics.runtime.pixels import PixelScorer, Preprocess
from npnet.weights.files import is_smoke, local_path
from npnet.weights.sources import read_config
from npnet.weights.tensors import LEGACY_BUFFERS, build_empty, load_strict, read_state, require_loaded
from npnet.weights.tokenizers import load_tokenizer

TEXT_LENGTH = 35
MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the raw rewards over the authors' validation set; the published score is standardised with them."""
UNUSED = (*LEGACY_BUFFERS, "blip.vision_proj.*", "blip.text_proj.*")
"""In the published file, and not part of the score."""
Config = TypeVar("Config", TextConfig, VisionConfig)


class RewardModel(nn.Module):
    """BLIP and the head on its first text token, by the names of the published file."""

    def __init__(self, text: TextConfig, vision: VisionConfig) -> None:
        super().__init__()
        self.blip = Blip(text, vision)
        self.mlp = LinearHead(text.hidden_size)

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the standardised reward, ``(B,)``."""
        return (self.mlp(self.blip(pixels, ids, mask)[:, 0]) - MEAN) / STD


class ImageRewardScorer(PixelScorer):
    """BLIP with the reward's head, and BERT's tokenizer."""

    def __init__(self, metric: ImageReward, device: torch.device | str = "cpu") -> None:
        vision = vision_config(metric.path)
        given = read_config(metric.path, "path", "med_config.json") or {}
        text = _config(TextConfig, {**given, "encoder_width": vision.embed_dim})  # as the authors' code sets it
        self.model = build_empty(lambda: RewardModel(text, vision))
        load_strict(self.model, read_state(metric.path, FILES, "path"), "path", metric.path, ignored=UNUSED)
        require_loaded(self.model)
        self.model.to(device)
        self.tokenizer = load_tokenizer(metric.tokenizer_path or metric.path, "tokenizer_path")
        preprocess = Preprocess(vision.image_size)
        super().__init__(metric, device, preprocess, TEXT_LENGTH, is_smoke(metric.path))

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        ids, mask = tokenize(self.tokenizer, prompts, TEXT_LENGTH, self.meter.truncated)
        return self.model(pixels.to(self.device), ids.to(self.device), mask.to(self.device))


def vision_config(source: str) -> VisionConfig:
    """Return the picture tower's configuration: the published one, or what a local folder states.

    The published repository has no such file, so it is not looked for there: without internet that would fail.

    Raises:
        FieldError: of ``path``: the folder's configuration is damaged.
    """
    own = read_config(source, "path", "vision_config.json") if local_path(source).is_dir() else None
    return _config(VisionConfig, own)


def _config(kind: type[Config], given: Mapping[str, Any] | None) -> Config:
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in (given or {}).items() if name in names})
