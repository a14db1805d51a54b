"""ImageReward (Xu et al. 2023): a BLIP trained on people's rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from npnet.metrics import loading
from npnet.metrics.blip import Blip, TextConfig, VisionConfig
from npnet.metrics.clip import tokenize
from npnet.metrics.head import LinearHead
from npnet.metrics.pixels import PixelMetric, Preprocess

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the raw rewards over the authors' validation set; the published score is standardised with them."""
UNUSED = (*loading.LEGACY_BUFFERS, "blip.vision_proj.*", "blip.text_proj.*")
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


class ImageReward(PixelMetric):
    """A reward with mean 0 and deviation 1 on the authors' validation set, about -2 to 2; papers print it times 100.

    Checkpoint ``ImageReward.pt`` (v1.0) of ``THUDM/ImageReward``, BLIP large, in float32 as published. Pictures:
    shortest side to 224 by PIL's bicubic filter, middle square, CLIP's normalisation. Text: 35 tokens of BERT, which is
    short: much of a long prompt is not read.

    Args:
        path: the checkpoint's file, or a local folder or hub id that holds it. A folder may state other sizes in
            ``med_config.json`` (text) and ``vision_config.json``.
        tokenizer_path: of BERT's tokenizer; None: beside the model.
    """

    differentiable = True
    display_scale = 100.0
    text_length = 35

    def __init__(
        self, path: str = "THUDM/ImageReward", tokenizer_path: str | None = "google-bert/bert-base-uncased"
    ) -> None:
        super().__init__()
        self.path, self.tokenizer_path = path, tokenizer_path
        self.model: RewardModel
        self.tokenizer: Any = None

    def check(self) -> None:
        """See ``Metric.check``."""
        loading.check_source(self.path, "metric.imagereward.path")
        if self.tokenizer_path is not None:
            loading.check_source(self.tokenizer_path, "metric.imagereward.tokenizer_path")

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        key = "metric.imagereward.path"
        vision = _config(VisionConfig, loading.read_config(self.path, key, "vision_config.json"))
        given = loading.read_config(self.path, key, "med_config.json") or {}
        text = _config(TextConfig, {**given, "encoder_width": vision.embed_dim})  # as the authors' code sets it
        self.model = loading.build_empty(lambda: RewardModel(text, vision))
        state = loading.read_state(self.path, ["ImageReward.pt", "model.safetensors"], key)
        loading.load_strict(self.model, state, f"{key}={self.path}", ignored=UNUSED)
        loading.require_loaded(self.model)
        self.device = torch.device(device)
        self.model.to(self.device)
        self.tokenizer = loading.load_tokenizer(self.tokenizer_path or self.path, "metric.imagereward.tokenizer_path")
        self.preprocess = Preprocess(vision.image_size)
        self.smoke = loading.is_smoke(self.path)
        return self

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        assert self.text_length is not None
        ids, mask = tokenize(self.tokenizer, prompts, self.text_length, self.truncated)
        return self.model(pixels.to(self.device), ids.to(self.device), mask.to(self.device))


def _config(kind: type[Config], given: Mapping[str, Any] | None) -> Config:
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in (given or {}).items() if name in names})
