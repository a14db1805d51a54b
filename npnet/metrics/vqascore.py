"""VQAScore (Lin et al. 2024): how likely a model answers "Yes" when asked whether the picture shows the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from npnet.errors import unknown
from npnet.metrics import loading
from npnet.metrics.base import Metric
from npnet.metrics.clip import half_on_gpu
from npnet.metrics.pixels import Preprocess

if TYPE_CHECKING:
    from PIL.Image import Image

    from npnet.metrics.clip_flant5 import ClipFlanT5

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
FAMILIES = ("clip_flant5", "image_text")
MAX_TOKENS = 2048
"""Of CLIP-FlanT5's question; the picture counts as one of them."""


class VQAScore(Metric):
    """The probability of the answer, in [0, 1]; higher is better.

    Family ``clip_flant5``: the published model, ``zhiqiulin/clip-flant5-xxl`` (11 billion weights) or ``-xl``. The
    published formula is exp of the mean log-probability over the tokens of "Yes" **and the end mark**, so about the
    square root of P("Yes"). Half precision (bfloat16) on a GPU, as published. Pictures: a border in the mean colour
    makes them square, shortest side to 336 by PIL's bicubic filter, CLIP's normalisation. Differentiable.

    Family ``image_text``: any image-text model of transformers (``llava-hf/llava-1.5-7b-hf``,
    ``Salesforce/instructblip-flan-t5-xl``, ...), picture by picture: P("Yes") itself, the first token of the answer, or
    with ``end_mark=true`` the published mean. Pictures go through the model's own processor, as 8-bit PIL pictures, so
    no gradient flows.

    Args:
        path: local folder or hub id.
        family: see above.
        tokenizer_path: for ``clip_flant5``; None: beside the model, for a hub id FlanT5's.
        question: with the prompt in place of ``{}``.
        answer: what is hoped for.
        end_mark: whether the end mark belongs to the answer; None: as published, for ``clip_flant5`` only.
    """

    def __init__(
        self,
        path: str = "zhiqiulin/clip-flant5-xxl",
        family: str = "clip_flant5",
        tokenizer_path: str | None = None,
        question: str = QUESTION,
        answer: str = "Yes",
        end_mark: bool | None = None,
    ) -> None:
        super().__init__()
        if family not in FAMILIES:
            raise unknown("vqascore.family", family, FAMILIES)
        if "{}" not in question:
            raise ValueError(f"vqascore.question={question!r}: needs a place {{}} for the prompt")
        self.path, self.family, self.tokenizer_path = path, family, tokenizer_path
        self.question, self.answer = question, answer
        self.differentiable = family == "clip_flant5"
        self.text_length = MAX_TOKENS if self.differentiable else None
        self.end_mark = self.differentiable if end_mark is None else end_mark
        self.model: Any = None
        self.tokenizer: Any = None
        self.processor: Any = None
        self.preprocess: Preprocess

    def check(self) -> None:
        """See ``Metric.check``."""
        loading.check_source(self.path, "metric.vqascore.path")
        if self.tokenizer_path is not None:
            loading.check_source(self.tokenizer_path, "metric.vqascore.tokenizer_path")

    def load(self, device: torch.device | str = "cpu") -> Self:
        """See ``Metric.load``."""
        self.device = torch.device(device)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        if self.family == "clip_flant5":
            from npnet.metrics.clip_flant5 import load_clip_flant5, preprocess_of

            self.model, self.tokenizer = load_clip_flant5(self.path, self.tokenizer_path, "metric.vqascore.path", dtype)
            self.preprocess = preprocess_of(self.model)
        else:
            from npnet.metrics.image_text import load_image_text

            self.model, self.processor = load_image_text(self.path, "metric.vqascore.path", dtype)
            self.tokenizer = self.processor.tokenizer
        self.model.to(self.device)
        self.smoke = loading.is_smoke(self.path)
        return self

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        if self.family == "clip_flant5":
            return self._published(self.preprocess.tensor(images), prompts)
        from torchvision.transforms.functional import to_pil_image

        return self._one_by_one([to_pil_image(image) for image in images.detach().float().clamp(0, 1).cpu()], prompts)

    def _score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        if self.family == "clip_flant5":
            return self._published(self.preprocess.pil(pictures), prompts)
        return self._one_by_one(pictures, prompts)

    def _published(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        from npnet.metrics.clip_flant5 import question_ids

        model: ClipFlanT5 = self.model
        parts = [question_ids(self.tokenizer, self.question.format(prompt), self.device) for prompt in prompts]
        room = MAX_TOKENS - 1 - len(parts[0][0]) if parts else 0
        self.truncated |= {prompt for prompt, (_, after) in zip(prompts, parts, strict=True) if len(after) > room}
        answer = torch.tensor(self.tokenizer(self.answer)["input_ids"], device=self.device)
        answer = answer if self.end_mark else answer[:-1]
        pixels = pixels.to(self.device, next(model.parameters()).dtype)
        with half_on_gpu(self.device, torch.bfloat16):
            chances = model(pixels, parts[0][0], [after[:room] for _, after in parts], answer, len(self.tokenizer))
        return chances.mean(-1).exp()

    def _one_by_one(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        from npnet.metrics.image_text import answer_chance

        scores = [
            answer_chance(self.model, self.processor, picture, self.question.format(prompt), self.answer, self.end_mark)
            for picture, prompt in zip(pictures, prompts, strict=True)
        ]
        return torch.stack(scores).float().exp()
