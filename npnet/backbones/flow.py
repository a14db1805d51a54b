"""Flow-matching transformers through diffusers: Stable Diffusion 3 and 3.5, and FLUX.1.

The levels are those of the checkpoint's own scheduler, 1000 sigma. Where the shift depends on the size of the picture
(FLUX), the configured ``height`` and ``width`` decide it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np

from npnet.backbones.layout import Configs, Facts, Layout, Side16, find, vae_factor
from npnet.backbones.levels import flow_sigmas, plain
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.schedules import FlowSchedule, Schedule
from npnet.backbones.spacing import Kind, Spacing
from npnet.bounds import Number
from npnet.errors import FieldError
from npnet.fields import AtLeast, AtMost, Positive

Tokens = Annotated[int, AtLeast(1), AtMost(512)]


@dataclass(frozen=True)
class StableDiffusion3(PipelineBackbone):
    """Stable Diffusion 3 medium and 3.5 (medium, large).

    Args:
        path: see ``PipelineBackbone``, whose other keys there are too.
        shift: of the schedule towards noise; the default is the checkpoint's.
        max_sequence_length: T5 tokens of a prompt; the default is the published one.
    """

    kind: ClassVar[Kind] = "flow"
    layout: ClassVar[Layout] = Layout(
        pipeline="StableDiffusion3Pipeline",
        denoiser_class="SD3Transformer2DModel",
        scheduler={"shift": 3.0},
        optional_parts=("text_encoder_3", "tokenizer_3"),
        patch_size=2,
    )
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.flow:SD3"

    _: KW_ONLY
    height: Side16 = 1024
    width: Side16 = 1024
    shift: Positive | None = None
    max_sequence_length: Tokens = 256

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 4096, 77 + 256 and 2048."""
        factor, positions = vae_factor(configs), find(configs, "transformer", "pos_embed_max_size", None)
        return Facts(
            latent_channels=find(configs, "transformer", "in_channels", 16),
            prompt_embed_dim=find(configs, "transformer", "joint_attention_dim", 4096),
            prompt_length=find(configs, "tokenizer", "model_max_length", 77) + self.max_sequence_length,
            pooled_embed_dim=find(configs, "transformer", "pooled_projection_dim", 2048),
            vae_factor=factor,
            largest_side=positions and positions * find(configs, "transformer", "patch_size", 2) * factor,
        )

    def make_schedule(self, published: Mapping[str, Any]) -> Schedule:
        """See ``PipelineBackbone.make_schedule``."""
        return shifted_schedule(published, self.shift, self.spacing, self.height, self.width)


@dataclass(frozen=True)
class Flux(PipelineBackbone):
    """FLUX.1 [dev] and [schnell].

    [dev] is distilled from guided sampling: it has no unconditional branch, and the network reads ``guidance_scale`` as
    a number. [schnell] reads no number. With ``true_cfg`` both branches are evaluated, ``guidance_scale`` mixes them as
    in the other families, and the network reads ``embedded_guidance``.

    Args:
        path: see ``PipelineBackbone``, whose other keys there are too.
        shift: of the schedule towards noise; the default is the checkpoint's.
        max_sequence_length: T5 tokens of a prompt; the default is the published one.
        true_cfg: evaluate an unconditional branch (of the empty prompt) too.
        embedded_guidance: the number that the network reads with ``true_cfg``.
    """

    kind: ClassVar[Kind] = "flow"
    layout: ClassVar[Layout] = Layout(
        pipeline="FluxPipeline",
        denoiser_class="FluxTransformer2DModel",
        scheduler={"shift": 3.0, "use_dynamic_shifting": True},
        patch_size=2,
    )
    lacking: ClassVar[Mapping[str, str]] = {
        "unconditional_branch": "its guidance is distilled; backbone.true_cfg=true evaluates the branch"
    }
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.flow:FLUX"

    _: KW_ONLY
    height: Side16 = 1024
    width: Side16 = 1024
    shift: Positive | None = None
    max_sequence_length: Tokens = 512
    true_cfg: bool = False
    embedded_guidance: Number = 3.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guidance_distilled:
            raise FieldError("guidance_distilled", True, "FLUX.1 always is; true_cfg=true evaluates both branches")

    @property
    def capabilities(self) -> frozenset[str]:  # type: ignore[override]
        """See ``Backbone.capabilities``: distilled as it is published."""
        return self.able - (set() if self.true_cfg else {"unconditional_branch"})

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 4096, 512 and 768; a token holds 2 x 2 cells."""
        return Facts(
            latent_channels=find(configs, "transformer", "in_channels", 64) // 4,
            prompt_embed_dim=find(configs, "transformer", "joint_attention_dim", 4096),
            prompt_length=self.max_sequence_length,
            pooled_embed_dim=find(configs, "transformer", "pooled_projection_dim", 768),
            vae_factor=vae_factor(configs),
        )

    def published_schedule(self) -> Mapping[str, Any]:
        """See ``PipelineBackbone.published_schedule``: [schnell] is not shifted."""
        return {"shift": 1.0} if "schnell" in self.path.lower() else self.layout.scheduler

    def make_schedule(self, published: Mapping[str, Any]) -> Schedule:
        """See ``PipelineBackbone.make_schedule``; the pipeline passes sigmas of its own."""
        return shifted_schedule(published, self.shift, self.spacing, self.height, self.width, linear_sigmas)


def size_shift(config: Mapping[str, Any], tokens: int, num_inference_steps: int) -> float:
    """Return mu, linear in the number of image tokens (16 x 16 pixels each); the number of steps has no effect."""
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return low + (high - low) * (tokens - few) / (many - few)


def shifted_schedule(
    published: Mapping[str, Any],
    shift: float | None,
    spacing: Spacing,
    height: int,
    width: int,
    given: Callable[[int], Sequence[float]] | None = None,
    mu: Callable[[Mapping[str, Any], int, int], float] = size_shift,
) -> FlowSchedule:
    """Return the schedule of a published configuration.

    Args:
        published: a scheduler configuration of diffusers.
        shift: instead of the published one.
        spacing: see ``FlowSchedule``.
        height: of the picture in pixels, for a shift that follows its size.
        width: of the same.
        given: from a number of steps to the unshifted sigmas that the family's pipeline passes.
        mu: such a shift, see ``size_shift``.
    """
    config = plain(published)
    if shift is not None:
        config |= {"flow_shift" if "flow_shift" in config else "shift": shift, "use_dynamic_shifting": False}
    follows = config.get("use_dynamic_shifting", False)
    by_steps = partial(mu, config, (height // 16) * (width // 16)) if follows else None
    return FlowSchedule(partial(_sigmas, config, by_steps, given), spacing, dict(published))


def linear_sigmas(num_inference_steps: int) -> Sequence[float]:
    """Return the sigmas that the pipelines of FLUX and later models pass to their schedulers."""
    return list(np.linspace(1.0, 1 / num_inference_steps, num_inference_steps))


def _sigmas(
    config: Mapping[str, Any],
    mu: Callable[[int], float] | None,
    given: Callable[[int], Sequence[float]] | None,
    count: int,
) -> list[float]:
    return flow_sigmas(config, count, mu and mu(count), given and given(count))
