"""MPS, the Multi-dimensional Preference Score (Zhang et al. 2024), its overall dimension."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.fields import Name, Share
from npnet.metrics.base import SoftmaxPreference
from npnet.weights.sources import check_source

CONDITION = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, instance, "
    "texture, quantity, attributes, position, number, location, word, things."
)
"""The published condition of the overall dimension."""
FILES = ("model.safetensors", "MPS_overall_checkpoint.safetensors", "MPS_overall.pth")
HINT = (
    "; convert the authors' file with: npnet convert-mps MPS_overall_checkpoint.pth OUT.safetensors, "
    "or leave it out: metric=[...] names the others"
)


@dataclass(frozen=True)
class MPS(SoftmaxPreference):
    """exp(logit_scale) times a cosine; higher is better. Papers print the mean of ``compare`` in percent (50: equal).

    Checkpoint ``MPS_overall_checkpoint.pth`` of Kwai-Kolors/MPS, a fine-tuned CLIP ViT-H/14 in half precision (float32
    on the CPU). The published file is a pickled module, which is never executed: ``npnet convert-mps`` converts it.
    Pictures: shortest side to 224 by PIL's bicubic filter, middle square, CLIP's normalisation. Text: all 77 tokens,
    with the padding. Words that differ from the condition are hidden from the picture: those whose similarity, divided
    by the largest one, is at most ``threshold``. The authors divide by the largest value of the whole batch. Here it is
    the largest value of the same prompt, which is what their code does for a single pair.

    Args:
        path: the converted file, or a local folder or hub id that holds one. A folder may state another architecture
            in ``config.json``.
        tokenizer_path: local folder or hub id; None: beside the model.
        threshold: 0.01 in the model's own code and in the Golden Noise comparison, 0.3 in the authors' scripts for
            HPD v2 and ImageReward.
        condition: the words that state what is judged.
    """

    runtime = "npnet.metrics.runtime.mps:MPSScorer"
    differentiable = True
    pairwise = True
    text_length = 77

    path: str | None = None
    tokenizer_path: Name | None = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
    threshold: Share = 0.01
    condition: Name = CONDITION

    def check(self) -> None:
        """See ``Description.check``."""
        check_source(self.path, "path", FILES, HINT)
        if self.tokenizer_path is not None:
            check_source(self.tokenizer_path, "tokenizer_path", ["tokenizer.json", "vocab.json"])
