"""The parts of Qwen-Image: latents ``(B, 16, h, w)``, 2 x 2 cells one token; the VAE is a video's, of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from npnet.backbones.runtime.flow import pack, unpack
from npnet.backbones.runtime.language_model import LanguageModelText
from npnet.backbones.runtime.pipeline import Parts, PipelineDenoiser, VaeDecoder


class QwenImageText(LanguageModelText):
    """The last layer of a Qwen2.5-VL, without the rows of the template before the prompt."""

    masked = True

    def embed_nothing(self) -> dict[str, Tensor]:
        """See ``PipelineText.embed_nothing``: a blank, as the model card has it."""
        return self.embed([" "])

    def table(self, returned: Any) -> dict[str, Tensor]:
        """See ``LanguageModelText.table``; no mask is returned where no row is padding."""
        return self.filled(*returned)


class QwenImageDenoiser(PipelineDenoiser):
    """Qwen-Image's transformer."""

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        count, rows, columns = len(latents), latents.shape[-2] // 2, latents.shape[-1] // 2
        output = self.module(
            hidden_states=pack(latents),
            timestep=self.full(label, count, dtype=latents.dtype) / 1000,
            encoder_hidden_states=inputs["prompt_embeds"],
            encoder_hidden_states_mask=inputs.get("prompt_mask"),
            img_shapes=self.once(lambda: [[(1, rows, columns)]] * count, "shapes", rows, columns, count),
            return_dict=False,
        )[0]
        return unpack(output, rows, columns)

    def mix(self, conditional: Tensor, unconditional: Tensor, guidance_scale: float) -> Tensor:
        """See ``Denoiser.mix``: each token of the mixture gets the length of the conditional one."""
        rows, columns = conditional.shape[-2] // 2, conditional.shape[-1] // 2
        wanted, mixed = pack(conditional), pack(super().mix(conditional, unconditional, guidance_scale))
        scale = wanted.norm(dim=-1, keepdim=True) / mixed.norm(dim=-1, keepdim=True)
        return unpack(mixed * scale, rows, columns)


class FrameDecoder(VaeDecoder):
    """A VAE of videos, for one frame."""

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Decoder.decode``."""
        return super().decode(latents.unsqueeze(2)).squeeze(2)


QWEN_IMAGE = Parts(QwenImageText, QwenImageDenoiser, FrameDecoder)
