"""Hunyuan-DiT v1.2 through diffusers: a diffusion transformer with v-prediction and two text encoders.

``prompt_embeds`` are those of the bilingual CLIP, 77 tokens of 1024 (what the published NPNet reads); the T5 half goes
with them as ``extras``: ``prompt_embeds_2`` and ``prompt_mask_2``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.schedules import VariancePreserving
from npnet.errors import UserError

CLIP_LENGTH, T5_LENGTH = 77, 256
PUBLISHED_SIDE = 1024
"""The picture size the network is told as the original one, as diffusers' pipeline does."""
ROTARY_SIDE = 512
"""The picture size whose grid the rotary positions are scaled to."""


class HunyuanDiT(VariancePreserving, PipelineBackbone):
    """Hunyuan-DiT; the arguments are those of ``PipelineBackbone``. Sizes are taken as they are, without binning."""

    pipeline_class = "HunyuanDiTPipeline"
    denoiser_class = "HunyuanDiT2DModel"
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    size_multiple = 16
    patch_size = 2

    def check(self) -> None:
        """See ``Backbone.check``.

        Raises:
            UserError: a LoRA is given; diffusers has no loader of them for this family.
        """
        if self.lora:
            raise UserError(f"backbone.lora={self.lora}: diffusers reads no LoRA of HunyuanDiT; use backbone.denoiser")
        super().check()

    def pipeline_options(self) -> dict[str, Any]:
        """See ``PipelineBackbone.pipeline_options``: without the safety checker."""
        return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``: 1024, 77 and 0."""
        width = self.pipeline.text_encoder.config.hidden_size
        return {"prompt_embed_dim": width, "prompt_length": CLIP_LENGTH, "pooled_embed_dim": 0}

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineBackbone.embed``."""
        found = {}
        for index, (suffix, length) in enumerate((("", CLIP_LENGTH), ("_2", T5_LENGTH))):
            embeds, _, mask, _ = self.pipeline.encode_prompt(
                prompts,
                self.device,
                self.dtype,
                do_classifier_free_guidance=False,
                max_sequence_length=length,
                text_encoder_index=index,
            )
            place = "extras." if suffix else ""
            found |= {f"{place}prompt_embeds{suffix}": embeds, f"{place}prompt_mask{suffix}": mask}
        return found

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``PipelineBackbone.denoise``; the second half of the output, a variance, is dropped."""
        count = len(latents)
        height, width = (side * self.vae_factor for side in latents.shape[-2:])
        sizes = latents.new_tensor([[PUBLISHED_SIDE, PUBLISHED_SIDE, height, width, 0, 0]]).repeat(count, 1)
        output = self.denoiser(
            latents,
            latents.new_full((count,), label),
            encoder_hidden_states=inputs["prompt_embeds"],
            text_embedding_mask=inputs["prompt_mask"],
            encoder_hidden_states_t5=inputs["prompt_embeds_2"],
            text_embedding_mask_t5=inputs["prompt_mask_2"],
            image_meta_size=sizes,
            style=torch.zeros(count, dtype=torch.long, device=self.device),
            image_rotary_emb=self._rotary(latents.shape[-2] // self.patch_size, latents.shape[-1] // self.patch_size),
            return_dict=False,
        )[0]
        return output.chunk(2, dim=1)[0]

    def _rotary(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the rotary position embedding of a grid of tokens."""
        from diffusers.models.embeddings import get_2d_rotary_pos_embed
        from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid

        base = ROTARY_SIDE // self.vae_factor // self.patch_size
        region = get_resize_crop_region_for_grid((height, width), base)
        head = self.denoiser.inner_dim // self.denoiser.num_heads
        return get_2d_rotary_pos_embed(head, region, (height, width), device=self.device, output_type="pt")
