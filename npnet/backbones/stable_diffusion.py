"""The U-Net families through diffusers: Stable Diffusion 1.x and 2.x, and Stable Diffusion XL with its kin.

SD 1.4 and 1.5 predict epsilon. SD 2.1 at 768 x 768 predicts v, which ``to_noise_pred`` converts; its checkpoint's
scheduler says so. Checkpoints with the layout of SDXL (DreamShaper-XL, a DPO U-Net, a fused LoRA) are SDXL here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from npnet.backbones.base import CAPABILITIES
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.schedules import VariancePreserving
from npnet.errors import UserError


class UNetBackbone(VariancePreserving, PipelineBackbone):
    """A family with a U-Net and DDIM's schedule."""

    denoiser_name = "unet"
    denoiser_class = "UNet2DConditionModel"
    reads_sizes = False
    """SDXL's U-Net is told the picture's sizes and the pooled text; the others' are not."""
    capabilities = frozenset(CAPABILITIES)

    def adopt(self, pipeline: Any) -> Self:
        """See ``PipelineBackbone.adopt``.

        Raises:
            UserError: the U-Net reads its guidance scale (an LCM), which these families do not pass, or is of the other
                family.
        """
        source = f"denoiser={self.replaced_denoiser}" if self.replaced_denoiser else f"path={self.path}"
        if (pipeline.unet.config.addition_embed_type == "text_time") != self.reads_sizes:
            found = "no U-Net of SDXL's layout" if self.reads_sizes else "a U-Net of SDXL's layout"
            raise UserError(f"backbone.{source}: {found}, so nothing for {type(self).__name__}")
        if pipeline.unet.config.time_cond_proj_dim is not None:
            raise UserError(f"backbone.{source}: its U-Net reads the guidance scale (LCM); use the LCM LoRA")
        return super().adopt(pipeline)


class StableDiffusion(UNetBackbone):
    """Stable Diffusion 1.4, 1.5 and 2.1; the arguments are those of ``PipelineBackbone``."""

    pipeline_class = "StableDiffusionPipeline"
    default_size = (512, 512)
    ays_schedule = "StableDiffusionTimesteps"

    def pipeline_options(self) -> dict[str, Any]:
        """See ``PipelineBackbone.pipeline_options``: without the safety checker, whose images no metric wants."""
        return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``: 768 (2.1: 1024), 77 and 0."""
        return {
            "prompt_embed_dim": self.pipeline.text_encoder.config.hidden_size,
            "prompt_length": self.pipeline.tokenizer.model_max_length,
            "pooled_embed_dim": 0,
        }

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineBackbone.embed``."""
        embeds, _ = self.pipeline.encode_prompt(prompts, self.device, 1, do_classifier_free_guidance=False)
        return {"prompt_embeds": embeds}

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``PipelineBackbone.denoise``."""
        timestep = torch.tensor(label, device=self.device)
        return self.denoiser(latents, timestep, encoder_hidden_states=inputs["prompt_embeds"], return_dict=False)[0]


class StableDiffusionXL(UNetBackbone):
    """SDXL base 1.0 and every checkpoint with its layout; the arguments are those of ``PipelineBackbone``."""

    pipeline_class = "StableDiffusionXLPipeline"
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    reads_sizes = True
    ays_schedule = "StableDiffusionXLTimesteps"

    def pipeline_options(self) -> dict[str, Any]:
        """See ``PipelineBackbone.pipeline_options``: without the invisible watermark."""
        return {"add_watermarker": False}

    def embed_dims(self) -> dict[str, int]:
        """See ``Backbone.embed_dims``: 2048, 77 and 1280 for SDXL."""
        p = self.pipeline
        return {
            "prompt_embed_dim": p.text_encoder.config.hidden_size + p.text_encoder_2.config.hidden_size,
            "prompt_length": p.tokenizer.model_max_length,
            "pooled_embed_dim": p.text_encoder_2.config.projection_dim,
        }

    def embed(self, prompts: list[str]) -> dict[str, Tensor]:
        """See ``PipelineBackbone.embed``."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            prompt=prompts, device=self.device, do_classifier_free_guidance=False
        )
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}

    def embed_nothing(self) -> dict[str, Tensor]:
        """See ``PipelineBackbone.embed_nothing``: zeros, where the checkpoint says so (SDXL does)."""
        nothing = self.embed([""])
        if self.pipeline.config.force_zeros_for_empty_prompt:
            return {name: torch.zeros_like(tensor) for name, tensor in nothing.items()}
        return nothing

    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        """See ``PipelineBackbone.denoise``."""
        timestep = torch.tensor(label, device=self.device)
        return self.denoiser(latents, timestep, **self.conditions(latents, inputs), return_dict=False)[0]

    def conditions(self, latents: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what the U-Net is given beside latents and time: text, pooled text, and SDXL's six sizes."""
        height, width = (side * self.vae_factor for side in latents.shape[-2:])
        sizes = latents.new_tensor([[height, width, 0, 0, height, width]]).expand(len(latents), -1)
        return {
            "encoder_hidden_states": inputs["prompt_embeds"],
            "added_cond_kwargs": {"text_embeds": inputs["pooled_prompt_embeds"], "time_ids": sizes},
        }
