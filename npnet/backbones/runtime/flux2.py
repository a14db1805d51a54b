"""The parts of FLUX.2 [klein]: latents ``(B, 128, h, w)``, each cell one token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from npnet.backbones.runtime.flow import pack, unpack
from npnet.backbones.runtime.language_model import LanguageModelText
from npnet.backbones.runtime.pipeline import Parts, PipelineDenoiser, VaeDecoder


class Flux2Text(LanguageModelText):
    """Three layers of a Qwen3, side by side; the network reads the padding too."""

    def table(self, returned: Any) -> dict[str, Tensor]:
        """See ``LanguageModelText.table``."""
        return {"prompt_embeds": returned[0]}


class Flux2Denoiser(PipelineDenoiser):
    """FLUX.2's transformer."""

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        rows, columns = latents.shape[-2:]
        length = inputs["prompt_embeds"].shape[1]
        output = self.module(
            hidden_states=pack(latents, 1),
            timestep=self.full(label, len(latents), dtype=latents.dtype) / 1000,
            encoder_hidden_states=inputs["prompt_embeds"],
            txt_ids=self.once(lambda: self._places(1, 1, length), "places", 1, 1, length),
            img_ids=self.once(lambda: self._places(rows, columns, 1), "places", rows, columns, 1),
            return_dict=False,
        )[0]
        return unpack(output, rows, columns, 1)

    def _places(self, *sizes: int) -> Tensor:
        """Return a picture (always 0), row, column and word for each token, ``(rows * columns * words, 4)``."""
        axes = [torch.arange(size, device=self.device) for size in (1, *sizes)]
        return torch.cartesian_prod(*axes)


class Flux2Decoder(VaeDecoder):
    """A VAE whose latents were scaled by a batch normalisation, 2 x 2 cells as one."""

    def unscale(self, latents: Tensor) -> Tensor:
        """See ``VaeDecoder.unscale``: ``(B, 128, h, w)`` -> ``(B, 32, 2h, 2w)``."""
        mean, variance = (self.vae.bn.get_buffer(f"running_{name}").float() for name in ("mean", "var"))
        deviation = (variance + self.vae.config.batch_norm_eps).sqrt()
        return pixel_shuffle(latents * deviation.view(-1, 1, 1) + mean.view(-1, 1, 1), 2)


FLUX2_KLEIN = Parts(Flux2Text, Flux2Denoiser, Flux2Decoder)
