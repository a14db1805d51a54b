"""Z-Image through diffusers: flow matching on ``(B, 16, h, w)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from npnet.backbones.flow import Tokens, linear_sigmas, shifted_schedule
from npnet.backbones.layout import Configs, Facts, Layout, Side16, find, vae_factor
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.schedules import Schedule
from npnet.backbones.spacing import Kind
from npnet.fields import Count, Positive


@dataclass(frozen=True)
class ZImage(PipelineBackbone):
    """Z-Image and Z-Image-Turbo.

    ``guidance_scale`` has the convention of all families here: 1 means no guidance. Diffusers' pipeline of this family
    counts one less, so its 4 is 5 here.

    Args:
        path: see ``PipelineBackbone``, whose other keys there are too.
        shift: of the schedule towards noise; the default is the checkpoint's.
        max_sequence_length: tokens of a prompt, its chat template with it; the default is the published one.
    """

    kind: ClassVar[Kind] = "flow"
    layout: ClassVar[Layout] = Layout(
        pipeline="ZImagePipeline",
        denoiser_class="ZImageTransformer2DModel",
        scheduler={"shift": 3.0},
        text_parts=("text_encoder", "tokenizer"),
        patch_size=2,
    )
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.z_image:Z_IMAGE"

    _: KW_ONLY
    height: Side16 = 1024
    width: Side16 = 1024
    shift: Positive | None = None
    max_sequence_length: Tokens = 512
    text_encoder_batch_size: Count = 8

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 2560, 512 and 0."""
        return Facts(
            latent_channels=find(configs, "transformer", "in_channels", 16),
            prompt_embed_dim=find(configs, "transformer", "cap_feat_dim", 2560),
            prompt_length=self.max_sequence_length,
            vae_factor=vae_factor(configs),
        )

    def make_schedule(self, published: Mapping[str, Any]) -> Schedule:
        """See ``PipelineBackbone.make_schedule``."""
        return shifted_schedule(published, self.shift, self.spacing, self.height, self.width, linear_sigmas)
