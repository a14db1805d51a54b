"""The scorer of ``npnet.metrics.pickscore``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.metrics.pickscore import PickScore
from npnet.metrics.runtime.clip import load_clip
from npnet.metrics.runtime.pixels import PixelScorer, Preprocess
from npnet.weights.files import is_smoke


class PickScoreScorer(PixelScorer):
    """A CLIP trunk with its own scale."""

    def __init__(self, metric: PickScore, device: torch.device | str = "cpu") -> None:
        self.trunk = load_clip(metric.path, device, "path", metric.tokenizer_path)
        preprocess = Preprocess(self.trunk.image_size, middle="floor")
        super().__init__(metric, device, preprocess, self.trunk.text_length, is_smoke(metric.path))

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        images = self.trunk.embed_images(pixels)
        texts = self.trunk.embed_texts(prompts, self.meter.truncated)
        return self.trunk.logit_scale * (images * texts).sum(-1)
