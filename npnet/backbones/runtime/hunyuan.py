"""Hunyuan-DiT's parts.

``prompt_embeds`` are those of the bilingual CLIP, 77 tokens of 1024 (what the published NPNet reads); the T5 half goes
with them as ``extras``: ``prompt_embeds_2`` and ``prompt_mask_2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from diffusers.models.embeddings import get_2d_rotary_pos_embed
from diffusers.pipelines.hunyuandit.pipeline_hunyuandit import get_resize_crop_region_for_grid
from torch import Tensor

from npnet.backbones.hunyuan import CLIP_LENGTH
from npnet.backbones.runtime.pipeline import Parts, PipelineDenoiser, without_safety_checker
from npnet.backbones.runtime.text import PipelineText

T5_LENGTH = 256
PUBLISHED_SIDE = 1024
"""The picture size the network is told as the original one, as diffusers' pipeline does."""
ROTARY_SIDE = 512
"""The picture size whose grid the rotary positions are scaled to."""


class HunyuanText(PipelineText):
    """A bilingual CLIP and a T5."""

    returned = ("prompt_embeds", "negative_prompt_embeds", "prompt_mask", "negative_prompt_mask")

    def named(self, calls: Sequence[Sequence[Tensor | None]]) -> dict[str, Tensor]:
        """See ``PipelineText.named``: the CLIP's call, and the T5's."""
        second = dict(zip(self.returned, calls[1], strict=False))
        extras = {f"extras.{name}_2": tensor for name, tensor in second.items() if tensor is not None}
        return {**super().named(calls), **extras}

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineText.embed``."""
        found: dict[str, Tensor] = {}
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

    def blank(self, count: int) -> dict[str, Tensor]:
        """See ``PipelineText.blank``."""
        widths = [self.pipeline.text_encoder.config.hidden_size, self.pipeline.text_encoder_2.config.d_model]
        found: dict[str, Tensor] = {}
        for place, suffix, length, width in zip(
            ("", "extras."), ("", "_2"), (CLIP_LENGTH, T5_LENGTH), widths, strict=True
        ):
            size = (count, length)
            found[f"{place}prompt_embeds{suffix}"] = torch.empty(*size, width, device=self.device, dtype=self.dtype)
            found[f"{place}prompt_mask{suffix}"] = torch.empty(size, device=self.device, dtype=torch.long)
        return found


class HunyuanDenoiser(PipelineDenoiser):
    """A diffusion transformer."""

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``Denoiser.denoise``; the second half of the output, a variance, is dropped."""
        count, patch = len(latents), self.description.layout.patch_size
        height, width = (side * self.vae_factor for side in latents.shape[-2:])
        sizes = self.once(
            lambda: latents.new_tensor([[PUBLISHED_SIDE, PUBLISHED_SIDE, height, width, 0, 0]]).repeat(count, 1),
            *("sizes", height, width, count, latents.dtype),
        )
        grid = latents.shape[-2] // patch, latents.shape[-1] // patch
        output = self.module(
            latents,
            self.full(label, count, dtype=latents.dtype),
            encoder_hidden_states=inputs["prompt_embeds"],
            text_embedding_mask=inputs["prompt_mask"],
            encoder_hidden_states_t5=inputs["prompt_embeds_2"],
            text_embedding_mask_t5=inputs["prompt_mask_2"],
            image_meta_size=sizes,
            style=self.full(0, count, dtype=torch.long),
            image_rotary_emb=self.once(lambda: self._rotary(*grid), "rotary", grid),
            return_dict=False,
        )[0]
        return output.chunk(2, dim=1)[0]

    def _rotary(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return the rotary position embedding of a grid of tokens."""
        base = ROTARY_SIDE // self.vae_factor // self.description.layout.patch_size
        region = get_resize_crop_region_for_grid((height, width), base)
        head = self.module.inner_dim // self.module.num_heads
        return get_2d_rotary_pos_embed(head, region, (height, width), device=self.device, output_type="pt")


HUNYUAN = Parts(HunyuanText, HunyuanDenoiser, options=without_safety_checker)
