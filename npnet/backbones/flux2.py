"""FLUX.2 [klein] through diffusers: flow matching on ``(B, 128, h, w)``; a latent cell holds 2 x 2 cells of the VAE."""

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

CELLS = 4
"""Cells of the VAE in a latent one, 2 x 2."""


@dataclass(frozen=True)
class Flux2Klein(PipelineBackbone):
    """FLUX.2 [klein], 4B and 9B, and their undistilled base models.

    Args:
        path: see ``PipelineBackbone``, whose other keys there are too.
        shift: of the schedule towards noise; by default it follows the picture's size and the number of steps.
        max_sequence_length: tokens of a prompt, its chat template with it; the default is the published one.
    """

    kind: ClassVar[Kind] = "flow"
    layout: ClassVar[Layout] = Layout(
        pipeline="Flux2KleinPipeline",
        denoiser_class="Flux2Transformer2DModel",
        scheduler={"shift": 3.0, "use_dynamic_shifting": True},
        vae_classes=("AutoencoderKLFlux2",),
        text_parts=("text_encoder", "tokenizer"),
    )
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.flux2:FLUX2_KLEIN"

    _: KW_ONLY
    height: Side16 = 1024
    width: Side16 = 1024
    shift: Positive | None = None
    max_sequence_length: Tokens = 512
    text_encoder_batch_size: Count = 4

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 7680 (three layers of the language model), 512 and 0."""
        channels = find(configs, "transformer", "in_channels", 128)
        return Facts(
            latent_channels=channels,
            vae_channels=channels // CELLS,
            prompt_embed_dim=find(configs, "transformer", "joint_attention_dim", 7680),
            prompt_length=self.max_sequence_length,
            vae_factor=2 * vae_factor(configs),
        )

    def make_schedule(self, published: Mapping[str, Any]) -> Schedule:
        """See ``PipelineBackbone.make_schedule``."""
        return shifted_schedule(
            published, self.shift, self.spacing, self.height, self.width, linear_sigmas, empirical_shift
        )


def empirical_shift(config: Mapping[str, Any], tokens: int, num_inference_steps: int) -> float:
    """Return FLUX.2's mu: linear in the number of steps between two lines in the number of image tokens.

    The lines are those of 10 and of 200 steps (Black Forest Labs' ``compute_empirical_mu``, as diffusers has it); from
    4,300 tokens on, only the second line is used, for any number of steps.

    Args:
        config: not used; see ``size_shift``.
        tokens: of the picture, 16 x 16 pixels each.
        num_inference_steps: at least 1.
    """
    at_10, at_200 = 8.73809524e-05 * tokens + 1.89833333, 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return at_200
    return at_200 + (at_200 - at_10) * (num_inference_steps - 200) / 190
