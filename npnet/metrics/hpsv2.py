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

    Checkpoints of ``xswu/HPSv2``, a fine-tuned OpenCLIP ViT-H/14, are loaded through open_clip. The published ``hpsv2``
    package cannot be imported (a file is missing), and reads its checkpoint again at every call. Automatic half
    precision on a GPU, as published, but the cosine is computed in float32. (The package computes it in half precision,
    in steps of 0.0002.) Pictures: longest side to 224 bicubic, black border, CLIP's normalisation; the same for PIL
    pictures, so ``score`` and ``score_pil`` agree. Text: 77 tokens.

    Args:
        version: ``v2.1``, or ``v2.0``, the package's default. Their scores cannot be compared.
        path: the checkpoint's file, or a local folder or hub id that holds it. A folder may state another
            architecture in ``open_clip_config.json``.
        antialias: of the resizing. The package uses torchvision's default, which is on since 0.17 (2023). Older
            published figures may have been computed without it.
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
