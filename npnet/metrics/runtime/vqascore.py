"""The scorers of ``npnet.metrics.vqascore``: one for the published model, and one for models of transformers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from npnet.metrics.runtime.base import Scorer
from npnet.metrics.runtime.clip import half_on_gpu
from npnet.metrics.runtime.clip_flant5 import load_clip_flant5, preprocess_of, question_ids
from npnet.metrics.runtime.image_text import answer_chance, load_image_text
from npnet.metrics.runtime.pixels import PixelScorer
from npnet.metrics.vqascore import MAX_TOKENS, VQAScore
from npnet.weights.files import is_smoke


def load_vqascore(metric: VQAScore, device: torch.device | str = "cpu") -> Scorer:
    """Load the scorer of the metric's family."""
    kind = ClipFlanT5Scorer if metric.family == "clip_flant5" else ImageTextScorer
    return kind(metric, device)


class ClipFlanT5Scorer(PixelScorer):
    """The published model, for a batch of tensors."""

    def __init__(self, metric: VQAScore, device: torch.device | str = "cpu") -> None:
        self.model, self.tokenizer = load_clip_flant5(metric.path, metric.tokenizer_path, _dtype(device))
        self.model.to(device)
        self.question = metric.question
        ids = self.tokenizer(metric.answer)["input_ids"]
        self.answer = torch.tensor(ids if metric.asks_end_mark else ids[:-1], device=device)
        super().__init__(metric, device, preprocess_of(self.model), MAX_TOKENS, is_smoke(metric.path))

    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        parts = [question_ids(self.tokenizer, self.question.format(prompt), self.device) for prompt in prompts]
        room = MAX_TOKENS - 1 - len(parts[0][0]) if parts else 0
        self.meter.truncated |= {prompt for prompt, (_, after) in zip(prompts, parts, strict=True) if len(after) > room}
        pixels = pixels.to(self.device, next(self.model.parameters()).dtype)
        afters = [after[:room] for _, after in parts]
        with half_on_gpu(self.device, torch.bfloat16):
            chances = self.model(pixels, parts[0][0], afters, self.answer, len(self.tokenizer))
        return chances.mean(-1).exp()


class ImageTextScorer(Scorer):
    """An image-text model of transformers, which answers for one picture at a time."""

    def __init__(self, metric: VQAScore, device: torch.device | str = "cpu") -> None:
        self.model, self.processor = load_image_text(metric.path, _dtype(device))
        self.tokenizer = self.processor.tokenizer
        self.model.to(device)
        self.question, self.answer, self.end_mark = metric.question, metric.answer, metric.asks_end_mark
        super().__init__(metric, device, smoke=is_smoke(metric.path))

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        pictures = [to_pil_image(image) for image in images.detach().float().clamp(0, 1).cpu()]
        wanted = images.requires_grad and torch.is_grad_enabled()
        return self._asked(pictures, prompts, [*images] if wanted else [None] * len(pictures))

    def _score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        return self._asked(pictures, prompts, [None] * len(pictures))

    def _asked(self, pictures: Sequence[Image], prompts: Sequence[str], images: Sequence[Tensor | None]) -> Tensor:
        model, rest = (self.model, self.processor), (self.answer, self.end_mark)
        scores = [
            answer_chance(*model, picture, self.question.format(prompt), *rest, image)
            for picture, prompt, image in zip(pictures, prompts, images, strict=True)
        ]
        return torch.stack(scores).float().exp()


def _dtype(device: torch.device | str) -> torch.dtype:
    return torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
