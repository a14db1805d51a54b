"""HPSv2 and HPSv2.1 (Wu et al. 2023): a model of human preference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from npnet.fields import Name
from npnet.metrics.base import Metric
from npnet.weights.sources import check_source

FILES = {"v2.0": "HPS_v2_compressed.pt", "v2.1": "HPS_v2.1_compressed.pt"}


@dataclass(frozen=True)
class HPSv2(Metric):
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

    runtime = "npnet.metrics.runtime.hpsv2:HPSv2Scorer"
    differentiable = True
    display_scale = 100.0
    text_length = 77

    version: Literal["v2.0", "v2.1"] = "v2.1"
    path: Name = "xswu/HPSv2"
    antialias: bool = True

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", [FILES[self.version]])
