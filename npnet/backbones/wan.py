"""Wan 2.1 text-to-video through diffusers: flow matching on ``(B, 16, f, h, w)``, f = (frames - 1) / 4 + 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar

from npnet.backbones.flow import Tokens, shifted_schedule
from npnet.backbones.layout import Configs, Facts, Layout, Side16, find
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.schedules import Schedule
from npnet.backbones.spacing import Kind
from npnet.errors import UserError
from npnet.fields import Positive, Rule, checked

FRAME_MULTIPLE = 4


class OneMoreThanMultiple(Rule):
    """A whole multiple of ``limit``, plus one."""

    words = "that is one more than a multiple of"

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return value > 0 and value % self.limit == 1

    def __str__(self) -> str:
        """Return the bound in words."""
        return f"that is a multiple of {self.limit:g} and one more"


Frames = Annotated[int, OneMoreThanMultiple(FRAME_MULTIPLE)]


@dataclass(frozen=True)
class Wan(PipelineBackbone):
    """Wan 2.1, 1.3B and 14B; Wan 2.2's two-stage models are refused.

    The checkpoint's scheduler is a second-order UniPC. Here the step is the first-order one (Euler) at the same levels,
    so that ``move`` can be undone.

    Args:
        path: see ``PipelineBackbone``, whose other keys there are too.
        num_frames: of a video, a multiple of 4 plus one.
        shift: of the schedule towards noise; the default is the checkpoint's.
        max_sequence_length: umT5 tokens of a prompt; the default is the published one.
    """

    kind: ClassVar[Kind] = "flow"
    layout: ClassVar[Layout] = Layout(
        pipeline="WanPipeline",
        denoiser_class="WanTransformer3DModel",
        scheduler={"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
        vae_classes=("AutoencoderKLWan",),
        text_parts=("text_encoder", "tokenizer"),
        patch_size=2,
        float32_parts=("vae",),
    )
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.wan:WAN"

    _: KW_ONLY
    height: Side16 = 480
    width: Side16 = 832
    num_frames: Frames = 81
    shift: Positive | None = None
    max_sequence_length: Tokens = 512

    def check(self) -> None:
        """See ``Description.check``.

        Raises:
            UserError: accelerate is missing; diffusers loads this model, part of which stays in float32, with it only.
        """
        super().check()
        if find_spec("accelerate") is None:
            raise UserError("backbone=wan: diffusers loads it with accelerate only: pip install accelerate")

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``: 4096, 512 and 0."""
        halvings = find(configs, "vae", "temperal_downsample", (False, True, True))  # as diffusers spells it
        return Facts(
            latent_channels=find(configs, "transformer", "in_channels", 16),
            prompt_embed_dim=find(configs, "transformer", "text_dim", 4096),
            prompt_length=self.max_sequence_length,
            vae_factor=find(configs, "vae", "scale_factor_spatial", 2 ** len(halvings)),
            frame_factor=find(configs, "vae", "scale_factor_temporal", 2 ** sum(halvings)),
        )

    def make_schedule(self, published: Mapping[str, Any]) -> Schedule:
        """See ``PipelineBackbone.make_schedule``."""
        return shifted_schedule(published, self.shift, self.spacing, self.height, self.width)

    def latent_shape(
        self,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        *,
        facts: Facts | None = None,
    ) -> tuple[int, ...]:
        """See ``Backbone.latent_shape``: ``(16, (frames - 1) / 4 + 1, height / 8, width / 8)``.

        Raises:
            FieldError: the VAE cannot divide a side or the frames.
        """
        facts = self.facts() if facts is None else facts
        num_frames = self.num_frames if num_frames is None else num_frames
        num_frames = checked(Annotated[int, OneMoreThanMultiple(FRAME_MULTIPLE)], num_frames, "num_frames")
        channels, *grid = super().latent_shape(height, width, facts=facts)
        return (channels, (num_frames - 1) // facts.frame_factor + 1, *grid)
