"""HPSv2 and HPSv2.1 (Wu et al. 2023): a model of human preference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from npnet.errors import unknown
from npnet.metrics import loading
from npnet.metrics.clip import half_on_gpu
from npnet.metrics.pixels import PixelMetric, Preprocess

FILES = {"v2.0": "HPS_v2_compressed.pt", "v2.1": "HPS_v2.1_compressed.pt"}
ARCHITECTURE = "ViT-H-14"


class HPSv2(PixelMetric):
    """The cosine of picture and prompt, without a scale, about 0.20 to 0.35; papers print it times 100.

    Checkpoints of ``xswu/HPSv2``, a fine-tuned OpenCLIP ViT-H/14, through open_clip, because the ``hpsv2`` package
    cannot be imported as published (a file is missing) and reads its checkpoint anew at every call. Automatic half
    precision on a GPU, as published; the cosine itself in float32, where that package gives it in half precision
    (steps of 0.0002). Pictures: as tensors, longest side to 224 bicubic, black border, CLIP's normalisation; from PIL
    the very same, so ``score`` and ``score_pil`` agree. Text: 77 tokens.

    Args:
        version: ``v2.1``, or ``v2.0``, the package's default. Their scores cannot be compared.
        path: the checkpoint's file, or a local folder or hub id that holds it. A folder may state another
            architecture in ``open_clip_config.json``.
        antialias: of the resizing. The package leaves it to torchvision, which switched it on in 0.17 (2023): figures
            printed before may have been computed without.
    """

    differentiable = True
    text_length = 77
    display_scale = 100.0

    def __init__(self, version: str = "v2.1", path: str = "xswu/HPSv2", antialias: bool = True) -> None:
        super().__init__()
        if version not in FILES:
            raise unknown("hpsv2.version", version, FILES)
        self.version, self.path, self.antialias = version, path, antialias
        self.model: Any = None
        self.tokenizer: Any = None

    def check(self) -> None:
        """See ``Metric.check``."""
        loading.check_source(self.path, "metric.hpsv2.path")

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        from open_clip import get_model_config
        from open_clip.tokenizer import SimpleTokenizer

        own = Path(self.path).is_dir() and loading.read_config(self.path, "metric.hpsv2.path", "open_clip_config.json")
        config = own["model_cfg"] if own else get_model_config(ARCHITECTURE)
        self.model = build_open_clip(config)
        state = loading.read_state(self.path, [FILES[self.version]], "metric.hpsv2.path")
        loading.load_strict(self.model, state, f"metric.hpsv2.path={self.path}")
        fill_mask(self.model)
        loading.require_loaded(self.model)
        self.device = torch.device(device)
        self.model.to(self.device)
        self.text_length = int(config["text_cfg"]["context_length"])
        self.tokenizer = SimpleTokenizer(context_length=self.text_length)
        self.preprocess = Preprocess(
            int(config["vision_cfg"]["image_size"]), fit="pad", eight_bit=False, antialias=self.antialias
        )
        self.smoke = loading.is_smoke(self.path)
        return self

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        assert self.text_length is not None
        marks = 2  # start and end
        self.truncated |= {p for p in prompts if len(self.tokenizer.encode(p)) + marks > self.text_length}
        tokens = self.tokenizer(list(prompts)).to(self.device)
        with half_on_gpu(self.device):
            images = self.model.encode_image(pixels.to(self.device), normalize=True)
            texts = self.model.encode_text(tokens, normalize=True)
        return (images.float() * texts.float()).sum(-1)


def build_open_clip(config: dict[str, Any]) -> Any:
    """Build an empty ``open_clip.CLIP`` from the ``model_cfg`` of its configuration."""
    from open_clip.model import CLIP

    return loading.build_empty(lambda: CLIP(**config))


def fill_mask(model: Any) -> None:
    """Make the causal mask of the text model, which no file holds."""
    length = model.attn_mask.shape[0]
    model.attn_mask = torch.full((length, length), float("-inf")).triu(1)
