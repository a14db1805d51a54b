"""The scorer of ``npnet.metrics.aes``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.metrics.aes import AES, HEAD
from npnet.metrics.runtime.clip import half_on_gpu, load_clip
from npnet.metrics.runtime.head import LinearHead
from npnet.metrics.runtime.pixels import PixelScorer, Preprocess
from npnet.weights.files import is_smoke
from npnet.weights.tensors import build_empty, load_strict, read_state


class AESScorer(PixelScorer):
    """A shared CLIP trunk and the head on its embedding of the picture."""

    def __init__(self, metric: AES, device: torch.device | str = "cpu") -> None:
        self.trunk = load_clip(metric.clip_path, device, "clip_path")
        self.head = build_empty(lambda: LinearHead(self.trunk.model.config.projection_dim))
        load_strict(self.head, read_state(metric.path, HEAD, "path"), "path", metric.path)
        self.head.to(device)
        smoke = is_smoke(metric.path, metric.clip_path)
        super().__init__(metric, device, Preprocess(self.trunk.image_size), smoke=smoke)

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        with half_on_gpu(self.device):
            embeds = self.trunk.embed_images(pixels)
        return self.head(embeds)
