"""Every backbone there is, by name, tiny and built once: what the contract tests run over."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from torch import Tensor

from npnet import paths, seeding
from npnet.backbones import Backbone, Shapes
from tests import tiny
from tests.voxels import Voxels

EVERY = (*tiny.FAMILIES, "voxels", "shapes", "shapes_b")
GUIDED = tuple(name for name in EVERY if name not in ("flux", "flux_schnell", "flux2_klein", "z_image", "sana_sprint"))
"""Those with an unconditional branch."""
PROMPTS = ["a cat", "two dogs"]
SHAPES_PROMPTS = ["a red circle to the left of a blue square", "a green triangle above a yellow circle"]
SEEDS = [3, 4]
SIZE = {"height": 64, "width": 96, "device": "cpu"}


@cache
def built(name: str) -> Any:
    """The tiny backbone of a family; ``shapes`` and ``shapes_b`` are the shipped models, ``voxels`` is in 3-D."""
    if name == "voxels":
        return Voxels(device="cpu").load()
    if name.startswith("shapes"):
        variant = "b" if name == "shapes_b" else "a"
        if not (paths.shapes_weights(variant) / "pipeline" / "model_index.json").is_file():
            pytest.skip("the Shapes weights are not built")
        return Shapes(device="cpu", variant=variant).load()
    return tiny.family(name)


def prompts_for(backbone: Backbone) -> list[str]:
    return SHAPES_PROMPTS if backbone.domain == "shapes" else PROMPTS


def noise_for(backbone: Backbone, *size: int) -> Tensor:
    return seeding.source_noises(SEEDS, backbone.latent_shape(*size))


def spent(backbone: Backbone, function: Callable[[], Any]) -> int:
    """The denoiser forwards of a call."""
    before = backbone.cost
    function()
    return (backbone.cost - before).forwards


def sampled(backbone: Any, steps: int = 3, guidance_scale: float = 3.0, **options: Any) -> Tensor:
    """The latents of the two prompts and seeds."""
    return backbone.sample(noise_for(backbone), backbone.encode(PROMPTS), steps, guidance_scale, **options)


def reference(backbone: Any, scheduler: Any, steps: int | None = 3, **options: Any) -> Tensor:
    """The same of a U-Net family's own pipeline, under another scheduler."""
    pipeline, published = backbone.pipeline, backbone.pipeline.scheduler
    pipeline.scheduler = scheduler
    try:
        return pipeline(
            PROMPTS,
            latents=noise_for(backbone),
            num_inference_steps=steps,
            guidance_scale=3.0,
            height=64,
            width=96,
            output_type="latent",
            **options,
        ).images
    finally:
        pipeline.scheduler = published
