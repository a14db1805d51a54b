"""Find the backbone of a diffusers pipeline, and use the pipeline as that backbone without changing it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from npnet import backbones
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.runtime.flow import pack, unpack
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.backbones.runtime.pipeline import borrow
from npnet.errors import UserError
from npnet.fit import elsewhere
from npnet.weights.sources import is_hub_id

FAMILIES: tuple[type[PipelineBackbone], ...] = (
    backbones.StableDiffusionXL,
    backbones.StableDiffusion3,
    backbones.StableDiffusion,
    backbones.HunyuanDiT,
    backbones.Flux,
    backbones.Flux2Klein,
    backbones.QwenImage,
    backbones.ZImage,
    backbones.SanaSprint,
    backbones.Wan,
)
"""A name that two share is the first one's."""
NAMES = {family.__name__ for family in FAMILIES}
TOKEN_SIDES: dict[type[PipelineBackbone], int] = {
    backbones.Flux: 2,
    backbones.Flux2Klein: 1,
    backbones.QwenImage: 2,
}
"""Cells along a side of a token, of families whose pipelines hand their latents around as tokens."""
TAKE_CELLS = (backbones.Flux2Klein,)
"""Those of them that take ``latents=`` as cells all the same."""
COUNT_ONE_LESS = (backbones.ZImage,)
"""Those whose pipelines mean by a ``guidance_scale`` of 0 what the others mean by 1."""
VARIANTS = r"(Modular|BaseModular|PAG|Adapter|ControlNet|ControlNetUnion|ControlNetPAG)?Pipeline"
"""Text-to-image pipelines of a family: their noise and their prompts are the plain one's."""


def family_of(pipe: Any) -> type[PipelineBackbone]:
    """Return the family of a pipeline by the name of its class, or of a class that it inherits from.

    Raises:
        UserError: its family has no golden noise here, or it starts from a picture.
    """
    names = [cls.__name__ for cls in type(pipe).__mro__]
    for family in FAMILIES:
        if any(re.fullmatch(_stem(family) + VARIANTS, name) for name in names):
            return family
    allowed = ", ".join(family.layout.pipeline for family in FAMILIES)
    raise UserError(
        f"{names[0]}: no text-to-image pipeline of a known family; allowed: {allowed}, with a ControlNet too"
    )


def is_plain(pipe: Any) -> bool:
    """Say whether the pipeline evaluates its denoiser as the backbone does; one with a ControlNet does not."""
    return any(cls.__name__ == family_of(pipe).layout.pipeline for cls in type(pipe).__mro__)


def other_model(pipe: Any, trained_for: Mapping[str, Any]) -> str | None:
    """Say that a network was trained for another model than a pipeline's; None where it was not or cannot be known.

    Args:
        pipe: of diffusers.
        trained_for: see ``NoiseNetwork``. Models that are no family here are told apart by their embeddings alone.
    """
    node = trained_for.get("backbone")
    name = str(node.get("_target_")).rpartition(".")[2] if isinstance(node, Mapping) else ""
    if name not in NAMES:
        return None
    path, place = trained_for["backbone"].get("path"), str(getattr(pipe.config, "_name_or_path", ""))
    both_on_hub = isinstance(path, str) and is_hub_id(path) and is_hub_id(place)  # a folder may be a copy
    same = name == family_of(pipe).__name__ and not both_on_hub
    return elsewhere(trained_for, family_of(pipe), {"path": path if same else place or None})


def as_backbone(pipe: Any, **sizes: int | None) -> LoadedBackbone:
    """Return a pipeline as a backbone; no module is moved or changed.

    Args:
        pipe: of diffusers.
        **sizes: ``height``, ``width``, ``num_frames``, ``max_sequence_length``; None is the pipeline's own default.

    Raises:
        UserError: see ``family_of``; a size does not fit.
    """
    family = family_of(pipe)
    module = getattr(pipe, family.layout.denoiser)
    device, dtype = torch.device(pipe._execution_device), module.dtype
    given: dict[str, Any] = {**default_size(pipe), **{k: value for k, value in sizes.items() if value is not None}}
    given["guidance_distilled"] = bool(pipe.config.get("is_distilled", False))  # as FLUX.2's pipelines say it
    known = {key: value for key, value in given.items() if key in family.__dataclass_fields__}
    path = str(getattr(pipe.config, "_name_or_path", "") or type(pipe).__name__)
    description = family(path, device=str(device), dtype=str(dtype).removeprefix("torch."), **known)  # type: ignore[arg-type]
    return borrow(description, pipe, device, dtype)


def default_size(pipe: Any) -> dict[str, int]:
    """Return the height and width in pixels that the pipeline takes when none are given."""
    side = getattr(pipe, "default_sample_size", None)
    if side is None:
        module = getattr(pipe, family_of(pipe).layout.denoiser)
        side = getattr(module.config, "sample_size", None)
    if side is None:
        return {}
    sides = (side, side) if isinstance(side, int) else tuple(side)[-2:]
    factor = pipe.vae_scale_factor
    return {"height": sides[0] * factor, "width": sides[1] * factor}


def sampling_of(pipe: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the guidance and the number of steps of a pipeline's call, as the pipeline means them.

    Args:
        pipe: in the middle of a call.
        given: the call's arguments, defaults included; none outside a call, where the steps are not known.
    """
    scale = pipe.guidance_scale
    if family_of(pipe) is backbones.QwenImage:  # its guidance_scale is read by distilled weights
        is_guided = any(given.get(name) is not None for name in ("negative_prompt", "negative_prompt_embeds"))
        scale = given["true_cfg_scale"] if is_guided else 1.0
    return {"guidance_scale": scale, "num_inference_steps": given.get("num_inference_steps")}


def packed(pipe: Any, noise: Tensor) -> Tensor:
    """Return noise ``(B, C, *grid)`` in the form that the pipeline's ``prepare_latents`` returns."""
    side = TOKEN_SIDES.get(family_of(pipe))
    return pack(noise, side) if side else noise


def unpacked(pipe: Any, latents: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo ``packed``; ``shape`` is ``(C, *grid)``."""
    side = TOKEN_SIDES.get(family_of(pipe))
    return unpack(latents, shape[-2] // side, shape[-1] // side, side) if side else latents


def as_argument(pipe: Any, noise: Tensor) -> Tensor:
    """Return noise ``(B, C, *grid)`` in the form that the pipeline takes as ``latents``."""
    return noise if family_of(pipe) in TAKE_CELLS else packed(pipe, noise)


def _stem(family: type[PipelineBackbone]) -> str:
    return family.layout.pipeline.removesuffix("Pipeline")
