"""CLIPScore (Hessel et al. 2021): how well a picture and its prompt agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from npnet.metrics import loading
from npnet.metrics.clip import ClipTrunk, half_on_gpu, load_clip
from npnet.metrics.pixels import PixelMetric, Preprocess


class CLIPScore(PixelMetric):
    """2.5 max(cosine, 0) of OpenAI's CLIP, in [0, 2.5], about 0.6 to 0.9; papers print it times 100.

    Checkpoint ``openai/clip-vit-base-patch32``, which the Golden Noise comparison uses (no "A photo depicts" before
    the prompt); with ``path=openai/clip-vit-large-patch14`` the model is the one ``aes`` loads, and is loaded once.
    Half precision on a GPU, as OpenAI's code runs it. Pictures: shortest side to 224 by PIL's bicubic filter, middle
    square, CLIP's normalisation. Text: 77 tokens.

    Args:
        path: local folder or hub id of the model with its tokenizer.
        prefix: put before every prompt (``"A photo depicts "`` in the CLIPScore paper).
        weight: what the cosine is multiplied with.
    """

    differentiable = True
    text_length = 77
    display_scale = 100.0

    def __init__(self, path: str = "openai/clip-vit-base-patch32", prefix: str = "", weight: float = 2.5) -> None:
        super().__init__()
        self.path, self.prefix, self.weight = path, prefix, weight
        self.trunk: ClipTrunk

    def check(self) -> None:
        """See ``Metric.check``."""
        loading.check_source(self.path, "metric.clipscore.path")

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        self.trunk = load_clip(self.path, device, "metric.clipscore.path")
        self.text_length = self.trunk.text_length
        self.preprocess = Preprocess(self.trunk.image_size)
        self.smoke = loading.is_smoke(self.path)
        return self

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        told = {self.prefix + prompt: prompt for prompt in prompts}
        cut: set[str] = set()
        with half_on_gpu(self.trunk.device):
            images = self.trunk.embed_images(pixels)
            texts = self.trunk.embed_texts([self.prefix + prompt for prompt in prompts], cut)
        self.truncated |= {told[text] for text in cut}
        return self.weight * (images * texts).sum(-1).clamp(min=0)
