"""The built-in Shapes model: a genuine, small SDXL pipeline that ships with the project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from npnet import paths
from npnet.backbones.layout import Configs, Facts, Layout, Side2
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.stable_diffusion import XL, xl_facts
from npnet.backbones.traits import CAPABILITIES, ShippedNetwork
from npnet.errors import UserError, reworded
from npnet.shapes.grammar import parse


@dataclass(frozen=True)
class Shapes(PipelineBackbone):
    """32 x 32 pictures of two coloured shapes; latents ``(4, 16, 16)``.

    Args:
        path: another pipeline directory made by ``npnet build-shapes``; the default is a shipped one.
        height: picture height in pixels, a multiple of 2.
        width: picture width in pixels.
        vae_slicing: decode one picture at a time. Small pictures decode faster together.
        variant: which of the shipped models, ``a`` or ``b``.
    """

    domain: ClassVar[str] = "shapes"
    layout: ClassVar[Layout] = XL
    able: ClassVar[frozenset[str]] = frozenset(CAPABILITIES)
    runtime: ClassVar[type | str] = "npnet.backbones.runtime.stable_diffusion:SDXL"

    path: str | None = None  # type: ignore[assignment]
    _: KW_ONLY
    height: Side2 = 32
    width: Side2 = 32
    vae_slicing: bool = False
    variant: Literal["a", "b"] = "a"

    @property
    def source(self) -> str:
        """See ``PipelineBackbone.source``."""
        return self.path or str(paths.shapes_weights(self.variant) / "pipeline")

    def shipped_network(self, which: ShippedNetwork) -> str:
        """See ``Backbone.shipped_network``."""
        folder = {"recommended": "network", "paper": "network_paper", "reward": "network_reward"}[which]
        return str(paths.shapes_weights(self.variant) / folder)

    @property
    def weight_variant(self) -> None:
        """See ``PipelineBackbone.weight_variant``: the weights of a built-in model have none."""

    def facts_of(self, configs: Configs) -> Facts:
        """See ``PipelineBackbone.facts_of``."""
        return xl_facts(configs)

    def check_prompts(self, prompts: Iterable[str]) -> None:
        """See ``Backbone.check_prompts``: the model knows only the words of the Shapes grammar."""
        for prompt in dict.fromkeys(prompts):
            with reworded(ValueError, UserError, "backbone=shapes: "):
                parse(prompt)
