"""The scorer of ``npnet.metrics.hpsv2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip import get_model_config
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from npnet.errors import FieldError
from npnet.metrics.hpsv2 import FILES, HPSv2
from npnet.metrics.runtime.clip import half_on_gpu
from npnet.metrics.runtime.pixels import PixelScorer, Preprocess
from npnet.weights.files import is_smoke, local_path
from npnet.weights.sources import read_config
from npnet.weights.tensors import build_empty, load_strict, read_state, require_loaded

ARCHITECTURE = "ViT-H-14"
OWN_CONFIG = "open_clip_config.json"


class HPSv2Scorer(PixelScorer):
    """An OpenCLIP model with its tokenizer."""

    def __init__(self, metric: HPSv2, device: torch.device | str = "cpu") -> None:
        config = model_config(metric.path)
        self.model = build_open_clip(config)
        load_strict(self.model, read_state(metric.path, [FILES[metric.version]], "path"), "path", metric.path)
        fill_mask(self.model)
        require_loaded(self.model)
        self.model.to(device)
        text_length = int(config["text_cfg"]["context_length"])
        self.tokenizer = SimpleTokenizer(context_length=text_length)
        size = int(config["vision_cfg"]["image_size"])
        preprocess = Preprocess(size, fit="pad", eight_bit=False, antialias=metric.antialias)
        super().__init__(metric, device, preprocess, text_length, is_smoke(metric.path))

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        marks = 2  # start and end
        length = self.tokenizer.context_length
        self.meter.truncated |= {p for p in prompts if len(self.tokenizer.encode(p)) + marks > length}
        tokens = self.tokenizer(list(prompts)).to(self.device)
        with half_on_gpu(self.device):
            images = self.model.encode_image(pixels.to(self.device), normalize=True)
            texts = self.model.encode_text(tokens, normalize=True)
        return (images.float() * texts.float()).sum(-1)


def model_config(source: str) -> dict[str, Any]:
    """Return open_clip's configuration of the model: the published one, or what a local folder states.

    Raises:
        FieldError: of ``path``: the folder's configuration is damaged.
    """
    own = read_config(source, "path", OWN_CONFIG) if local_path(source).is_dir() else None
    if own is None:
        return get_model_config(ARCHITECTURE)
    if not isinstance(own.get("model_cfg"), dict):
        raise FieldError("path", source, f"{OWN_CONFIG} has no model_cfg")
    return own["model_cfg"]


def build_open_clip(config: dict[str, Any]) -> Any:
    """Build an empty ``open_clip.CLIP`` from the ``model_cfg`` of its configuration."""
    return build_empty(lambda: CLIP(**config))


def fill_mask(model: Any) -> None:
    """Make the causal mask of the text model, which no file holds."""
    length = model.attn_mask.shape[0]
    model.attn_mask = torch.full((length, length), float("-inf")).triu(1)
