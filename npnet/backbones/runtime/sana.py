"""The parts of SANA-Sprint: latents ``(B, 32, h, w)``, each cell one token."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from npnet.backbones.runtime.adopted import Adopted
from npnet.backbones.runtime.flow import EmbeddedGuidance
from npnet.backbones.runtime.language_model import LanguageModelText
from npnet.backbones.runtime.pipeline import Parts

INSTRUCTION = "complex_human_instruction"
"""What the language model reads before every prompt; the pipeline's own."""


class SanaText(LanguageModelText):
    """The last layer of a Gemma 2: the first row, and the last ones, of the instruction and the prompt."""

    masked = True

    def options(self) -> Mapping[str, Any]:
        """See ``LanguageModelText.options``."""
        return {INSTRUCTION: inspect.signature(self.pipeline.__call__).parameters[INSTRUCTION].default}

    def table(self, returned: Any) -> dict[str, Tensor]:
        """See ``LanguageModelText.table``."""
        return dict(zip(("prompt_embeds", "prompt_mask"), returned, strict=True))


class SanaDenoiser(EmbeddedGuidance):
    """SANA-Sprint's transformer.

    Args:
        adopted: a pipeline of SANA-Sprint.
    """

    published = 4.5

    def __init__(self, adopted: Adopted) -> None:
        super().__init__(adopted)
        self.unit = float(self.module.config.guidance_embeds_scale)

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        count = len(latents)
        return self.module(
            latents,
            encoder_hidden_states=inputs["prompt_embeds"],
            encoder_attention_mask=inputs.get("prompt_mask"),
            guidance=self.guidance(inputs, count),
            timestep=self.full(label / 1000, count),
            return_dict=False,
        )[0]


SANA_SPRINT = Parts(SanaText, SanaDenoiser)
