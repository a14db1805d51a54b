"""Hunyuan-DiT v1.2 through diffusers: a diffusion transformer with v-prediction and two text encoders."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from npnet.backbones.layout import Configs, Facts, Layout, Side16, find, vae_factor
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.stable_diffusion import SCHEDULER
from npnet.errors import FieldError

CLIP_LENGTH = 77


@dataclass(frozen=True)
class HunyuanDiT(PipelineBackbone):
    """Hunyuan-DiT; the keys are those of ``PipelineBackbone``. Sizes are used as given, without binning."""

    layout: ClassVar[Layout] = Layout(
        pipeline="HunyuanDiTPipeline",
        denoiser_class="HunyuanDiT2DModel",
        scheduler={**SCHEDULER, "beta_end": 0.018, "prediction_type": "v_prediction"},
        patch_size=2,
    )
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.hunyuan:HUNYUAN"

    _: KW_ONLY
    height: Side16 = 1024
    width: Side16 = 1024

    def check(self) -> None:
        """See ``Description.check``.

        Raises:
            FieldError: a LoRA is given; diffusers has no loader of them for this family.
        """
        if self.lora:
            raise FieldError("lora", self.lora, "diffusers reads no LoRA of HunyuanDiT; use backbone.denoiser")
        super().check()

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 1024, 77 and 0."""
        return Facts(
            latent_channels=find(configs, "transformer", "in_channels", 4),
            prompt_embed_dim=find(configs, "text_encoder", "hidden_size", 1024),
            prompt_length=CLIP_LENGTH,
            vae_factor=vae_factor(configs),
        )
