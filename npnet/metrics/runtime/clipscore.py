"""The scorer of ``npnet.metrics.clipscore``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.metrics.clipscore import CLIPScore
from npnet.metrics.runtime.clip import half_on_gpu, load_clip
from npnet.metrics.runtime.pixels import PixelScorer, Preprocess
from npnet.weights.files import is_smoke


class CLIPScoreScorer(PixelScorer):
    """A shared CLIP trunk."""

    def __init__(self, metric: CLIPScore, device: torch.device | str = "cpu") -> None:
        self.prefix, self.weight = metric.prefix, metric.weight
        self.trunk = load_clip(metric.path, device)
        preprocess = Preprocess(self.trunk.image_size)
        super().__init__(metric, device, preprocess, self.trunk.text_length, is_smoke(metric.path))

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        told = {self.prefix + prompt: prompt for prompt in prompts}
        cut: set[str] = set()
        with half_on_gpu(self.device):
            images = self.trunk.embed_images(pixels)
            texts = self.trunk.embed_texts([self.prefix + prompt for prompt in prompts], cut)
        self.meter.truncated |= {told[text] for text in cut}
        return self.weight * (images * texts).sum(-1).clamp(min=0)
