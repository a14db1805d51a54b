"""The parts of Stable Diffusion 3 and FLUX: latents ``(B, 16, h, w)``; FLUX reads 2 x 2 patches of them as tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from npnet.backbones.flow import Flux, StableDiffusion3
from npnet.backbones.runtime.adopted import Adopted
from npnet.backbones.runtime.pipeline import Parts, PipelineDenoiser
from npnet.backbones.runtime.text import PipelineText
from npnet.records import Conditioning


class SD3Text(PipelineText):
    """Two CLIPs and a T5."""

    returned = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineText.embed``."""
        assert isinstance(self.description, StableDiffusion3)
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompts,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.description.max_sequence_length,
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


class SD3Denoiser(PipelineDenoiser):
    """SD 3's transformer."""

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        return self.module(
            hidden_states=latents,
            timestep=self.full(label, len(latents)),
            encoder_hidden_states=inputs["prompt_embeds"],
            pooled_projections=inputs["pooled_prompt_embeds"],
            return_dict=False,
        )[0]


class FluxText(PipelineText):
    """A T5, and a CLIP's pooled text."""

    returned = ("prompt_embeds", "pooled_prompt_embeds")

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineText.embed``."""
        assert isinstance(self.description, Flux)
        embeds, pooled, _ = self.pipeline.encode_prompt(
            prompts, device=self.device, max_sequence_length=self.description.max_sequence_length
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}


class EmbeddedGuidance(PipelineDenoiser):
    """A network that reads the guidance scale as a number.

    Args:
        adopted: a pipeline.
    """

    published = 3.5
    """What it reads where nobody says."""
    embedded: float | None = None
    """What it reads whatever the guidance scale."""
    unit = 1.0
    """What it reads for a guidance scale of 1."""

    def __init__(self, adopted: Adopted) -> None:
        super().__init__(adopted)
        self.usual = float(adopted.description.settings.get("guidance_scale", self.published))

    def with_guidance(self, conditioning: Conditioning, guidance_scale: float) -> Conditioning:
        """See ``Denoiser.with_guidance``: the number the network reads, one for each sample."""
        column = self._column(len(conditioning), guidance_scale)
        return replace(conditioning, extras={**conditioning.extras, "guidance": column})

    def guidance(self, inputs: Mapping[str, Tensor], count: int) -> Tensor:
        """Return the numbers, ``(B,)``."""
        given = inputs.get("guidance")
        return (self._column(count, self.usual) if given is None else given).float()

    def _column(self, count: int, guidance_scale: float) -> Tensor:
        scale = guidance_scale if self.embedded is None else self.embedded
        return self.full(self.unit * float(scale), count)


class FluxDenoiser(EmbeddedGuidance):
    """FLUX's transformer.

    Args:
        adopted: a pipeline of FLUX.
    """

    def __init__(self, adopted: Adopted) -> None:
        super().__init__(adopted)
        description = adopted.description
        assert isinstance(description, Flux)
        self.embedded = description.embedded_guidance if description.true_cfg else None

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        rows, columns = latents.shape[-2] // 2, latents.shape[-1] // 2
        length, dtype = inputs["prompt_embeds"].shape[1], latents.dtype
        guidance = self.guidance(inputs, len(latents)) if self.module.config.guidance_embeds else None
        output = self.module(
            hidden_states=pack(latents),
            timestep=self.full(label, len(latents), dtype=dtype) / 1000,
            guidance=guidance,
            pooled_projections=inputs["pooled_prompt_embeds"],
            encoder_hidden_states=inputs["prompt_embeds"],
            txt_ids=self.full(0.0, length, 3, dtype=dtype),
            img_ids=self.once(lambda: self._places(rows, columns, dtype), "places", rows, columns, dtype),
            return_dict=False,
        )[0]
        return unpack(output, rows, columns)

    def _places(self, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
        """Return the row and column of each token, ``(rows * columns, 3)``; the first number is always 0."""
        places = torch.zeros(rows, columns, 3, device=self.device, dtype=dtype)
        places[..., 1] += torch.arange(rows, device=self.device)[:, None]
        places[..., 2] += torch.arange(columns, device=self.device)[None, :]
        return places.flatten(0, 1)


def pack(latents: Tensor, side: int = 2) -> Tensor:
    """Read side x side cells as one token: ``(B, C, 2r, 2c)`` -> ``(B, r c, 4C)``; a permutation of the numbers."""
    count, channels, height, width = latents.shape
    cells = latents.reshape(count, channels, height // side, side, width // side, side)
    return cells.permute(0, 2, 4, 1, 3, 5).reshape(count, height * width // side**2, channels * side**2)


def unpack(tokens: Tensor, rows: int, columns: int, side: int = 2) -> Tensor:
    """Undo ``pack``."""
    cells = tokens.reshape(len(tokens), rows, columns, -1, side, side)
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, side * rows, side * columns)


SD3 = Parts(SD3Text, SD3Denoiser)
FLUX = Parts(FluxText, FluxDenoiser)
