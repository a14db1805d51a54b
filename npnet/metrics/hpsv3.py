"""HPSv3 (Ma et al. 2025): a Qwen2-VL with a head that was trained on people's choices."""

from __future__ import annotations

import re
from dataclasses import dataclass

from npnet.fields import Name
from npnet.metrics.base import Metric
from npnet.weights.sources import check_local, check_source

FILES = ("HPSv3.safetensors",)
BASE = "Qwen/Qwen2-VL-7B-Instruct"
CODE_URL = (
    "https://files.pythonhosted.org/packages/20/ed/6feb979b0086f57dc7a8b545693e1dbeffd60c8d942971e0445c65fcf438/"
    "hpsv3-1.0.0-py3-none-any.whl"
)
CODE_SHA256 = "1a1b3ed1f538315ddf0e90c55b9f5c8ab3248d772cd713c11f7dfe35bf867ab3"
MARK = re.compile(r"<\|\w+\|>")
"""What Qwen2-VL's tokenizer takes for a mark of its own, wherever it stands."""


@dataclass(frozen=True)
class HPSv3(Metric):
    """The mean of the preference that the model states; higher is better.

    The score has no bounds. The authors report means from -0.24 to 10.55 for text-to-image models.

    Checkpoint ``HPSv3.safetensors`` of ``MizzenAI/HPSv3``, MIT license, 8 billion weights; bfloat16 on a GPU with the
    head in float32, as published, float32 elsewhere. The head gives mean and log-deviation of a Gaussian at the mark
    ``<|Reward|>``, which ends the question; the score is the mean, as published. Tokens have the positions 0, 1, 2, ...
    over the picture too, as in the published code, which does not use Qwen2-VL's positions of rows and columns.
    Pictures: both sides to multiples of 28 whose product is at most 200704 and near it (448 x 448 for a square), by
    PIL's bicubic filter, CLIP's normalisation. Differentiable.

    The question is long, and its exact words decide the score. It is not part of this package. It is read, without
    being executed, from the published code, a package of 69 kB that is downloaded once. If the question differs from
    the published one, the notes of a run say so.

    Args:
        path: the checkpoint's file, or a local folder or hub id that holds it.
        base_path: of the configuration and the tokenizer, not of weights; None: beside the checkpoint.
        code_path: a local copy of the published package (``hpsv3-1.0.0-py3-none-any.whl``) or of its file
            ``data_collator_qwen.py``; None: fetched from the package index.
    """

    runtime = "npnet.metrics.runtime.hpsv3:HPSv3Scorer"
    differentiable = True

    path: Name = "MizzenAI/HPSv3"
    base_path: Name | None = BASE
    code_path: Name | None = None

    def check_prompt(self, prompt: str) -> None:
        """See ``Metric.check_prompt``."""
        found = MARK.search(prompt)
        if found:
            raise ValueError(f"holds {found[0]}, which the model reads as a mark of its own")

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", FILES)
        if self.base_path is not None:
            check_source(self.base_path, "base_path", ["config.json"])
        if self.code_path is not None:
            check_local(self.code_path, "code_path")
