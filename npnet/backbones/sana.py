"""SANA-Sprint through diffusers: flow matching on ``(B, 32, h, w)``, a latent cell 32 pixels wide.

The model is defined in TrigFlow: x_t = cos(t) x_0 + sin(t) epsilon, with t from pi / 2 to 0. Divided by cos(t) +
sin(t), this is flow matching at sigma = sin(t) / (cos(t) + sin(t)). The network gets this sigma and these latents, and
returns the velocity (Chen et al. 2025, SANA-Sprint, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from npnet.backbones.flow import Tokens
from npnet.backbones.layout import Configs, Facts, Layout, Side32, find
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.samplers import SCM_SCHEDULER
from npnet.backbones.schedules import FlowSchedule, Schedule
from npnet.backbones.spacing import Kind
from npnet.fields import Count

MIDDLE = 1.3
"""The published angle of the second of two steps; other numbers of steps are spaced evenly."""


@dataclass(frozen=True)
class SanaSprint(PipelineBackbone):
    """SANA-Sprint, 0.6B and 1.6B: 1 to 4 steps, and a network that reads ``guidance_scale`` as a number.

    Its published sampler, ``sampler=scm``, draws noise between steps. Sizes are used as given, without binning.

    Args:
        path: see ``PipelineBackbone``, whose other keys there are too.
        max_sequence_length: tokens of a prompt; the default is the published one.
    """

    kind: ClassVar[Kind] = "flow"
    able: ClassVar[frozenset[str]] = PipelineBackbone.able - {"unconditional_branch"}
    lacking: ClassVar[Mapping[str, str]] = {"unconditional_branch": "its guidance is distilled"}
    layout: ClassVar[Layout] = Layout(
        pipeline="SanaSprintPipeline",
        denoiser_class="SanaTransformer2DModel",
        scheduler={"_class_name": SCM_SCHEDULER},
        vae_classes=("AutoencoderDC",),
        text_parts=("text_encoder", "tokenizer"),
    )
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.sana:SANA_SPRINT"

    _: KW_ONLY
    height: Side32 = 1024
    width: Side32 = 1024
    max_sequence_length: Tokens = 300
    text_encoder_batch_size: Count = 16

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 2304, 300 and 0."""
        return Facts(
            latent_channels=find(configs, "transformer", "in_channels", 32),
            prompt_embed_dim=find(configs, "transformer", "caption_channels", 2304),
            prompt_length=self.max_sequence_length,
            vae_factor=2 ** (len(find(configs, "vae", "encoder_block_out_channels", (0,) * 6)) - 1),
        )

    def make_schedule(self, published: Mapping[str, Any]) -> Schedule:
        """See ``PipelineBackbone.make_schedule``."""
        return FlowSchedule(sigmas, self.spacing, dict(published))


def sigmas(num_inference_steps: int) -> list[float]:
    """Return sigma at each evaluation; diffusers starts at 1.5708, 4e-6 beyond pi / 2, which is 1 here."""
    start = math.pi / 2
    angles = [start * (1 - step / num_inference_steps) for step in range(num_inference_steps)]
    if num_inference_steps == 2:
        angles[1] = MIDDLE
    return [math.sin(angle) / (math.cos(angle) + math.sin(angle)) for angle in angles]
