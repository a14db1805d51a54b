"""PickScore (Kirstain et al. 2023): what people picked on a text-to-image site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from npnet.metrics import loading
from npnet.metrics.base import SoftmaxPreference
from npnet.metrics.clip import ClipTrunk, load_clip
from npnet.metrics.pixels import PixelMetric, Preprocess


class PickScore(SoftmaxPreference, PixelMetric):
    """exp(logit_scale) times the cosine of picture and prompt, about 18 to 24; higher is better.

    Checkpoint ``yuvalkirstain/PickScore_v1``, a fine-tuned CLIP ViT-H/14, in float32 as published. Pictures: shortest
    side to 224 by PIL's bicubic filter, middle square, CLIP's normalisation. Text: 77 tokens. ``compare`` is the
    published rule, the softmax over the two scores. Some packages print the score divided by 26 or 100: not this scale.

    Args:
        path: local folder or hub id of the model.
        tokenizer_path: of its tokenizer; the published repository has none of its own. None: beside the model.
    """

    differentiable = True
    text_length = 77

    def __init__(
        self,
        path: str = "yuvalkirstain/PickScore_v1",
        tokenizer_path: str | None = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    ) -> None:
        super().__init__()
        self.path, self.tokenizer_path = path, tokenizer_path
        self.trunk: ClipTrunk

    def check(self) -> None:
        """See ``Metric.check``."""
        loading.check_source(self.path, "metric.pickscore.path")
        if self.tokenizer_path is not None:
            loading.check_source(self.tokenizer_path, "metric.pickscore.tokenizer_path")

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        self.trunk = load_clip(self.path, device, "metric.pickscore.path", self.tokenizer_path)
        self.text_length = self.trunk.text_length
        self.preprocess = Preprocess(self.trunk.image_size, middle="floor")
        self.smoke = loading.is_smoke(self.path)
        return self

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        images = self.trunk.embed_images(pixels)
        texts = self.trunk.embed_texts(prompts, self.truncated)
        return self.trunk.logit_scale * (images * texts).sum(-1)
