"""The parts of Z-Image: latents ``(B, 16, h, w)``; the network takes lists, a picture and a prompt's own rows each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from npnet.backbones.runtime.adopted import Adopted
from npnet.backbones.runtime.language_model import LanguageModelText
from npnet.backbones.runtime.parts import negative
from npnet.backbones.runtime.pipeline import Parts, PipelineDenoiser


class ZImageText(LanguageModelText):
    """The last layer but one of a Qwen3."""

    masked = True

    def options(self) -> Mapping[str, Any]:
        """See ``LanguageModelText.options``."""
        return {"do_classifier_free_guidance": False}

    def table(self, returned: Any) -> dict[str, Tensor]:
        """See ``LanguageModelText.table``: lists of each prompt's rows, and of the negative prompts'."""
        rows, unwanted = returned
        found = self._padded(rows)
        return found | {negative(name): tensor for name, tensor in (self._padded(unwanted) if unwanted else {}).items()}

    def _padded(self, rows: list[Tensor]) -> dict[str, Tensor]:
        masks = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
        return self.filled(pad_sequence(rows, batch_first=True), pad_sequence(masks, batch_first=True))


class ZImageDenoiser(PipelineDenoiser):
    """Z-Image's transformer. Its time is 1 for data and 0 for noise, and it predicts data minus noise.

    Args:
        adopted: a pipeline of Z-Image.
    """

    def __init__(self, adopted: Adopted) -> None:
        super().__init__(adopted)
        self._counted: tuple[Tensor | None, list[int]] = (None, [])

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        prompts = inputs["prompt_embeds"].unbind()
        mask = inputs.get("prompt_mask")
        if mask is not None:
            if self._counted[0] is not mask:  # once for a batch, not at each of its steps
                self._counted = mask, lengths(mask)
            prompts = tuple(prompt[:length] for prompt, length in zip(prompts, self._counted[1], strict=True))
        time = self.full((1000 - label) / 1000, len(latents))
        output = self.module(list(latents.unsqueeze(2).unbind()), time, list(prompts), return_dict=False)[0]
        return -torch.stack(output).squeeze(2)


def lengths(mask: Tensor) -> list[int]:
    """Return the number of each prompt's own rows; the host waits for them."""
    return mask.sum(1).tolist()


Z_IMAGE = Parts(ZImageText, ZImageDenoiser)
