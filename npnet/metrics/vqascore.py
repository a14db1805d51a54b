"""VQAScore (Lin et al. 2024): how likely a model answers "Yes" when asked whether the picture shows the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from npnet.bounds import Question
from npnet.fields import Name
from npnet.metrics.base import Metric
from npnet.weights.sources import check_source

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
MAX_TOKENS = 2048
"""Of CLIP-FlanT5's question; the picture counts as one of them."""


@dataclass(frozen=True)
class VQAScore(Metric):
    """The probability of the answer, in [0, 1]; higher is better.

    Family ``clip_flant5``: the published model, ``zhiqiulin/clip-flant5-xxl`` (11 billion weights) or ``-xl``. The
    published formula is exp of the mean log-probability over the tokens of "Yes" **and the end mark**, so about the
    square root of P("Yes"). Half precision (bfloat16) on a GPU, as published. Pictures: a border in the mean colour
    makes them square, shortest side to 336 by PIL's bicubic filter, CLIP's normalisation. Differentiable.

    Family ``image_text``: any image-text model of transformers (``llava-hf/llava-1.5-7b-hf``,
    ``Salesforce/instructblip-flan-t5-xl``, ...), picture by picture: P("Yes") itself, the first token of the answer, or
    with ``end_mark=true`` the published mean. Pictures go through the model's own processor, as 8-bit PIL pictures; the
    gradient, for LLaVA 1.5 and InstructBLIP, is that of the same steps without rounding.

    Args:
        path: local folder or hub id.
        family: see above.
        tokenizer_path: for ``clip_flant5``; None: beside the model, for a hub id FlanT5's.
        question: with the prompt in place of ``{}``.
        answer: what is hoped for.
        end_mark: whether the end mark belongs to the answer; None: as published, for ``clip_flant5`` only.
    """

    runtime = "npnet.metrics.runtime.vqascore:load_vqascore"

    path: Name = "zhiqiulin/clip-flant5-xxl"
    family: Literal["clip_flant5", "image_text"] = "clip_flant5"
    tokenizer_path: Name | None = None
    question: Question = QUESTION
    answer: Name = "Yes"
    end_mark: bool | None = None

    differentiable: ClassVar[bool] = True

    @property
    def text_length(self) -> int | None:  # type: ignore[override]
        """Return the tokens of a question that are read; the models of transformers have limits of their own."""
        return MAX_TOKENS if self.family == "clip_flant5" else None

    @property
    def asks_end_mark(self) -> bool:
        """Whether the end mark belongs to the answer."""
        return self.family == "clip_flant5" if self.end_mark is None else self.end_mark

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", ["config.json"])
        if self.tokenizer_path is not None:
            check_source(self.tokenizer_path, "tokenizer_path", ["tokenizer.json", "spiece.model"])
