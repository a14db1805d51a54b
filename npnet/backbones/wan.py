"""Wan 2.1 text-to-video through diffusers: flow matching on ``(B, 16, f, h, w)``, f = (frames - 1) / 4 + 1.

The checkpoint's scheduler is a second-order UniPC; our step is its first-order one (Euler) at the same levels, so that
``move`` can be undone. The network is told whole timesteps, as that scheduler does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from npnet.backbones.flow import FlowBackbone
from npnet.errors import UserError

ROUNDING = 1e-4
"""Float32 levels a hair below a whole number are that number."""


class Wan(FlowBackbone):
    """Wan 2.1, 1.3B and 14B; Wan 2.2's two-stage models are refused.

    Args:
        path: see ``PipelineBackbone``.
        num_frames: of a video, a multiple of 4 and one more.
        **common: see ``FlowBackbone``.
    """

    pipeline_class = "WanPipeline"
    denoiser_class = "WanTransformer3DModel"
    vae_classes = ("AutoencoderKLWan",)
    default_size = (480, 832)
    size_multiple = 16
    patch_size = 2
    default_length = 512
    frame_multiple = 4
    float32_parts = ("vae",)

    def __init__(self, path: str, num_frames: int = 81, **common: Any) -> None:
        super().__init__(path, **common)
        self.num_frames = num_frames

    def check(self) -> None:
        """See ``Backbone.check``.

        Raises:
            UserError: accelerate is missing; diffusers loads this model, part of which stays in float32, with it only.
        """
        from diffusers.utils import is_accelerate_available

        self.check_frames(self.num_frames)
        super().check()
        if not is_accelerate_available():
            raise UserError("backbone=wan: diffusers loads it with accelerate only: pip install accelerate")

    def check_frames(self, num_frames: Any) -> None:
        """Refuse a number of frames that the VAE cannot divide.

        Raises:
            UserError: says what was got and what is needed.
        """
        whole = isinstance(num_frames, int) and not isinstance(num_frames, bool)
        if not whole or num_frames < 1 or num_frames % self.frame_multiple != 1:
            raise UserError(
                f"backbone.num_frames={num_frames}: a multiple of {self.frame_multiple} and one more is needed"
            )

    def adopt(self, pipeline: Any) -> Wan:
        """See ``PipelineBackbone.adopt``.

        Raises:
            UserError: the pipeline is one of Wan 2.2, with two denoisers or a timestep for each token.
        """
        if pipeline.config.boundary_ratio is not None or pipeline.config.expand_timesteps:
            raise UserError(f"backbone.path={self.path}: a two-stage model of Wan 2.2; allowed: Wan 2.1")
        return super().adopt(pipeline)

    @property
    def vae_factor(self) -> int:
        """See ``PipelineBackbone.vae_factor``."""
        return self.pipeline.vae_scale_factor_spatial

    def latent_shape(
        self, height: int | None = None, width: int | None = None, num_frames: int | None = None
    ) -> tuple[int, ...]:
        """See ``Backbone.latent_shape``: ``(16, (frames - 1) / 4 + 1, height / 8, width / 8)``."""
        num_frames = self.num_frames if num_frames is None else num_frames
        self.check_frames(num_frames)
        channels, *grid = super().latent_shape(height, width)
        return (channels, (num_frames - 1) // self.pipeline.vae_scale_factor_temporal + 1, *grid)

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``: 4096, 512 and 0."""
        width = self.denoiser.config.text_dim
        return {"prompt_embed_dim": width, "prompt_length": self.max_sequence_length, "pooled_embed_dim": 0}

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineBackbone.embed``; rows beyond a prompt's end are zeros, and masked."""
        embeds, _ = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            max_sequence_length=self.max_sequence_length,
            device=self.device,
        )
        return {"prompt_embeds": embeds, "prompt_mask": (embeds != 0).any(-1).long()}

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``PipelineBackbone.denoise``."""
        if "Euler" not in type(self.pipeline.scheduler).__name__:
            label = float(int(label + ROUNDING))
        return self.denoiser(
            hidden_states=latents,
            timestep=torch.full((len(latents),), label, device=self.device),
            encoder_hidden_states=inputs["prompt_embeds"],
            return_dict=False,
        )[0]

    def decode(self, latents: Tensor) -> Tensor:
        """See ``Backbone.decode``: ``(B, F, 3, H, W)``."""
        return super().decode(latents).transpose(1, 2)
