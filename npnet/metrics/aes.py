"""AES (LAION's improved aesthetic predictor, v2): how beautiful a picture is, whatever the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from npnet.metrics import loading
from npnet.metrics.clip import ClipTrunk, half_on_gpu, load_clip
from npnet.metrics.head import LinearHead
from npnet.metrics.pixels import PixelMetric, Preprocess

HEAD = ("sac+logos+ava1-l14-linearMSE.pth", "model.safetensors")


class AES(PixelMetric):
    """A head on the unit-length embedding of OpenAI's CLIP ViT-L/14, about 4 to 7; higher is better, prompt-free.

    Checkpoint ``sac+logos+ava1-l14-linearMSE.pth`` of christophschuhmann/improved-aesthetic-predictor, from a copy on
    the hub; its five layers have no activations between them, and the dropout of its training is off. The model below
    is shared with ``clipscore`` where that names the same one. Half precision on a GPU, as OpenAI's code runs it; the
    head in float32. Pictures: shortest side to 224 by PIL's bicubic filter, middle square, CLIP's normalisation.

    Args:
        path: the head's file, or a local folder or hub id that holds it.
        clip_path: local folder or hub id of CLIP ViT-L/14.
    """

    differentiable = True
    uses_prompt = False

    def __init__(
        self, path: str = "camenduru/improved-aesthetic-predictor", clip_path: str = "openai/clip-vit-large-patch14"
    ) -> None:
        super().__init__()
        self.path, self.clip_path = path, clip_path
        self.trunk: ClipTrunk
        self.head: LinearHead

    def check(self) -> None:
        """See ``Metric.check``."""
        loading.check_source(self.path, "metric.aes.path")
        loading.check_source(self.clip_path, "metric.aes.clip_path")

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        self.trunk = load_clip(self.clip_path, device, "metric.aes.clip_path")
        self.preprocess = Preprocess(self.trunk.image_size)
        self.head = loading.build_empty(lambda: LinearHead(self.trunk.model.config.projection_dim))
        loading.load_strict(
            self.head, loading.read_state(self.path, HEAD, "metric.aes.path"), f"metric.aes.path={self.path}"
        )
        self.head.to(device)
        self.smoke = loading.is_smoke(self.path) or loading.is_smoke(self.clip_path)
        return self

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        with half_on_gpu(self.trunk.device):
            embeds = self.trunk.embed_images(pixels)
        return self.head(embeds)
