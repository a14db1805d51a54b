"""PickScore (Kirstain et al. 2023): the choices of people on a text-to-image site."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.fields import Name
from npnet.metrics.base import SoftmaxPreference
from npnet.weights.files import WEIGHTS
from npnet.weights.sources import check_source


@dataclass(frozen=True)
class PickScore(SoftmaxPreference):
    """exp(logit_scale) times the cosine of picture and prompt, about 18 to 24; higher is better.

    Checkpoint ``yuvalkirstain/PickScore_v1``, a fine-tuned CLIP ViT-H/14, in float32 as published. Pictures: shortest
    side to 224 by PIL's bicubic filter, middle square, CLIP's normalisation. Text: 77 tokens. ``compare`` is the
    published rule, the softmax over the two scores. Some packages divide the score by 26 or 100; here it is not
    divided.

    Args:
        path: local folder or hub id of the model.
        tokenizer_path: of its tokenizer; the published repository has none of its own. None: beside the model.
    """

    runtime = "npnet.metrics.runtime.pickscore:PickScoreScorer"
    differentiable = True
    text_length = 77

    path: Name = "yuvalkirstain/PickScore_v1"
    tokenizer_path: Name | None = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", WEIGHTS)
        if self.tokenizer_path is not None:
            check_source(self.tokenizer_path, "tokenizer_path", ["tokenizer.json", "vocab.json"])
