"""Wan 2.1's parts; the network gets whole timesteps, as from its UniPC scheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from npnet.backbones.runtime.pipeline import Parts, PipelineDenoiser, VaeDecoder
from npnet.backbones.runtime.text import PipelineText
from npnet.backbones.wan import Wan
from npnet.errors import FieldError

ROUNDING = 1e-4
"""Float32 levels a hair below a whole number are that number."""


class WanText(PipelineText):
    """A umT5."""

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineText.embed``; rows beyond a prompt's end are zeros, and masked."""
        assert isinstance(self.description, Wan)
        embeds, _ = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            max_sequence_length=self.description.max_sequence_length,
            device=self.device,
        )
        return _masked({"prompt_embeds": embeds})

    def named(self, calls: Sequence[Sequence[Tensor | None]]) -> dict[str, Tensor]:
        """See ``PipelineText.named``."""
        return _masked(super().named(calls))


def _masked(embeds: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the masks that the zeros stand for."""
    masks = {name.replace("embeds", "mask"): (tensor != 0).any(-1).long() for name, tensor in embeds.items()}
    return {**embeds, **masks}


class WanDenoiser(PipelineDenoiser):
    """Wan's transformer."""

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``."""
        if "Euler" not in type(self.pipeline.scheduler).__name__:
            label = float(int(label + ROUNDING))
        return self.module(
            hidden_states=latents,
            timestep=self.full(label, len(latents)),
            encoder_hidden_states=inputs["prompt_embeds"],
            return_dict=False,
        )[0]


class VideoDecoder(VaeDecoder):
    """A VAE whose pictures are frames."""

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Decoder.decode``: ``(B, F, 3, H, W)``."""
        return super().decode(latents).transpose(1, 2)


def check_one_stage(description: Wan, pipeline: Any) -> None:
    """Refuse the pipelines of Wan 2.2, with two denoisers or a timestep for each token."""
    if pipeline.config.get("boundary_ratio") is not None or pipeline.config.get("expand_timesteps"):
        raise FieldError("path", description.path, "a two-stage model of Wan 2.2; allowed: Wan 2.1")


WAN = Parts(WanText, WanDenoiser, VideoDecoder, check=check_one_stage)
