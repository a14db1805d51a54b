"""ImageReward (Xu et al. 2023): a BLIP trained on people's rankings."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.fields import Name
from npnet.metrics.base import Metric
from npnet.weights.sources import check_source

FILES = ("ImageReward.pt", "model.safetensors")


@dataclass(frozen=True)
class ImageReward(Metric):
    """A reward with mean 0 and deviation 1 on the authors' validation set, about -2 to 2; papers print it times 100.

    Checkpoint ``ImageReward.pt`` (v1.0) of ``THUDM/ImageReward``, BLIP large, in float32 as published. Pictures:
    shortest side to 224 by PIL's bicubic filter, middle square, CLIP's normalisation. Text: 35 tokens of BERT, which is
    short: most of a long prompt is not read.

    Args:
        path: the checkpoint's file, or a local folder or hub id that holds it. A folder may state other sizes in
            ``med_config.json`` (text) and ``vision_config.json``.
        tokenizer_path: of BERT's tokenizer; None: beside the model.
    """

    runtime = "npnet.metrics.runtime.imagereward:ImageRewardScorer"
    differentiable = True
    display_scale = 100.0
    text_length = 35

    path: Name = "THUDM/ImageReward"
    tokenizer_path: Name | None = "google-bert/bert-base-uncased"

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", FILES)
        if self.tokenizer_path is not None:
            check_source(self.tokenizer_path, "tokenizer_path", ["tokenizer.json", "vocab.txt"])
