"""Qwen-Image through diffusers: flow matching on ``(B, 16, h, w)``, with guidance that keeps each token's length."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from npnet.backbones.flow import Tokens, linear_sigmas, shifted_schedule
from npnet.backbones.layout import Configs, Facts, Layout, Side16, find
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.schedules import Schedule
from npnet.backbones.spacing import Kind
from npnet.fields import Count, Positive

CELLS = 4
"""Latent cells of a token, 2 x 2."""


@dataclass(frozen=True)
class QwenImage(PipelineBackbone):
    """Qwen-Image; ``guidance_scale`` is its pipeline's ``true_cfg_scale``, and the negative prompt is a blank.

    Args:
        path: see ``PipelineBackbone``, whose other keys there are too.
        shift: of the schedule towards noise; by default it follows the picture's size.
        max_sequence_length: tokens of a prompt; the default is the published one.
    """

    kind: ClassVar[Kind] = "flow"
    affine_guidance: ClassVar[bool] = False
    layout: ClassVar[Layout] = Layout(
        pipeline="QwenImagePipeline",
        denoiser_class="QwenImageTransformer2DModel",
        scheduler={
            "shift": 1.0,
            "shift_terminal": 0.02,
            "use_dynamic_shifting": True,
            "base_shift": 0.5,
            "max_shift": 0.9,
            "max_image_seq_len": 8192,
        },
        vae_classes=("AutoencoderKLQwenImage",),
        text_parts=("text_encoder", "tokenizer"),
        patch_size=2,
    )
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.qwen_image:QWEN_IMAGE"

    _: KW_ONLY
    height: Side16 = 1024
    width: Side16 = 1024
    shift: Positive | None = None
    max_sequence_length: Tokens = 512
    text_encoder_batch_size: Count = 4

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 3584, 512 and 0."""
        return Facts(
            latent_channels=find(configs, "transformer", "in_channels", 64) // CELLS,
            prompt_embed_dim=find(configs, "transformer", "joint_attention_dim", 3584),
            prompt_length=self.max_sequence_length,
            vae_factor=2 ** len(find(configs, "vae", "temperal_downsample", (False, True, True))),
        )

    def make_schedule(self, published: Mapping[str, Any]) -> Schedule:
        """See ``PipelineBackbone.make_schedule``."""
        return shifted_schedule(published, self.shift, self.spacing, self.height, self.width, linear_sigmas)
