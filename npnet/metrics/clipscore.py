"""CLIPScore (Hessel et al. 2021): how well a picture and its prompt agree."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.bounds import Number
from npnet.fields import Name
from npnet.metrics.base import Metric
from npnet.weights.files import WEIGHTS
from npnet.weights.sources import check_source


@dataclass(frozen=True)
class CLIPScore(Metric):
    """2.5 max(cosine, 0) of OpenAI's CLIP, in [0, 2.5], about 0.6 to 0.9; papers print it times 100.

    Checkpoint ``openai/clip-vit-base-patch32``, which the Golden Noise comparison uses (no "A photo depicts" before
    the prompt); with ``path=openai/clip-vit-large-patch14``, ``aes`` and this metric share one model. It runs in half
    precision on a GPU, as in OpenAI's code. Pictures: shortest side to 224 by PIL's bicubic filter, middle square,
    CLIP's normalisation. Text: 77 tokens.

    Args:
        path: local folder or hub id of the model with its tokenizer.
        prefix: put before every prompt (``"A photo depicts "`` in the CLIPScore paper).
        weight: the factor of the cosine.
    """

    runtime = "npnet.metrics.runtime.clipscore:CLIPScoreScorer"
    differentiable = True
    display_scale = 100.0
    text_length = 77

    path: Name = "openai/clip-vit-base-patch32"
    prefix: str = ""
    weight: Number = 2.5

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", WEIGHTS)
