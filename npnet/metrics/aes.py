"""AES (LAION's improved aesthetic predictor, v2): how beautiful a picture is, without regard to the prompt."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.fields import Name
from npnet.metrics.base import Metric
from npnet.weights.files import WEIGHTS
from npnet.weights.sources import check_source

HEAD = ("sac+logos+ava1-l14-linearMSE.pth", "model.safetensors")
"""Files that may hold the head, the preferred first."""


@dataclass(frozen=True)
class AES(Metric):
    """A head on the unit-length embedding of OpenAI's CLIP ViT-L/14; about 4 to 7, higher is better, uses no prompt.

    Checkpoint ``sac+logos+ava1-l14-linearMSE.pth`` of christophschuhmann/improved-aesthetic-predictor, from a copy on
    the hub. Its five layers have no activations between them, and the dropout of its training is off. If ``clipscore``
    names the same CLIP, both share it. CLIP runs in half precision on a GPU, as in OpenAI's code, and the head in
    float32. Pictures: shortest side to 224 by PIL's bicubic filter, middle square, CLIP's normalisation.

    Args:
        path: the head's file, or a local folder or hub id that holds it.
        clip_path: local folder or hub id of CLIP ViT-L/14.
    """

    runtime = "npnet.metrics.runtime.aes:AESScorer"
    differentiable = True
    uses_prompt = False

    path: Name = "camenduru/improved-aesthetic-predictor"
    clip_path: Name = "openai/clip-vit-large-patch14"

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", HEAD)
        check_source(self.clip_path, "clip_path", WEIGHTS)
