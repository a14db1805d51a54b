"""A LoRA of the denoiser, added into its weights once: nothing is left to compute at sampling time."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npnet.backbones import loading, sources
from npnet.errors import UserError

PEFT_DEFAULT = 8
"""Peft's rank and alpha, where its configuration leaves them out."""


def fuse(pipeline: Any, denoiser_name: str, source: str, scale: float) -> None:
    """Add ``scale * alpha / rank * B A`` to every weight of the denoiser that the LoRA names.

    Args:
        pipeline: a diffusers pipeline.
        denoiser_name: ``unet`` or ``transformer``.
        source: a ``.safetensors`` file, its directory, ``owner/name`` or ``owner/name/file.safetensors`` on the hub.
        scale: 1 is the LoRA as it was trained.

    Raises:
        UserError: it cannot be read, or belongs to another model.
    """
    layers, others = read(pipeline, denoiser_name, source)
    if others:
        raise UserError(f"backbone.lora={source}: it changes {', '.join(others)} too; only the {denoiser_name} may be")
    denoiser = getattr(pipeline, denoiser_name)
    for name, (down, up, factor) in layers.items():
        try:
            weight = denoiser.get_submodule(name).weight
        except AttributeError:
            raise UserError(f"backbone.lora={source}: this model has no layer {name}") from None
        change = (up.float().flatten(1) @ down.float().flatten(1)) * (scale * factor)
        if change.numel() != weight.numel():
            raise UserError(f"backbone.lora={source}: {name} is of another shape {tuple(weight.shape)}")
        with torch.no_grad():
            weight.copy_((weight.float() + change.view_as(weight).to(weight.device)).to(weight.dtype))


def read(pipeline: Any, denoiser_name: str, source: str) -> tuple[dict[str, tuple[Tensor, Tensor, float]], list[str]]:
    """Return layer -> (A, B, alpha / rank) of the denoiser, and the names of the other models that the file changes.

    Diffusers' own converters bring the layouts in use (kohya, old and new diffusers, peft) to one. Alpha is saved
    beside a layer (kohya), or in the file's metadata (peft: what diffusers' training scripts write); where it is saved
    nowhere, it is the rank.

    Raises:
        UserError: it cannot be read, or holds what would not be applied (DoRA, biases, an alpha of unknown meaning).
    """
    from diffusers.utils import convert_unet_state_dict_to_peft

    if sources.is_local(source):
        if not Path(source).exists():
            raise UserError(f"backbone.lora={source}: no such file or directory")
        options: dict[str, Any] = {}
        repo = source
    else:
        repo, subfolder, file = sources.split_hub_path(source)
        options = {"weight_name": file, "subfolder": subfolder}
    if denoiser_name == "unet":
        options["unet_config"] = pipeline.unet.config
    if "return_alphas" in inspect.signature(pipeline.lora_state_dict).parameters:
        options["return_alphas"] = True  # without it, FLUX's are dropped
    state, *rest = loading.guarded(
        "backbone.lora", source, lambda: pipeline.lora_state_dict(repo, return_lora_metadata=True, **options)
    )
    *found, metadata = rest
    state = convert_unet_state_dict_to_peft(state)
    alphas = {key.removesuffix(".alpha"): alpha for key, alpha in ((found and found[0]) or {}).items()}
    alphas = {key.split(".lora_A")[0]: a for key, a in convert_unet_state_dict_to_peft(alphas).items()}
    prefix = f"{denoiser_name}."
    saved = {key.removeprefix(prefix): v for key, v in (metadata or {}).items() if key.startswith(prefix)}
    layers, read_keys = {}, set()
    for key, down in state.items():
        layer, found_down, _ = key.partition(".lora_A.")
        up_key = key.replace(".lora_A.", ".lora_B.")
        if not found_down or not layer.startswith(prefix) or up_key not in state:
            continue
        read_keys |= {key, up_key}
        name, rank = layer.removeprefix(prefix), len(down)
        factor = float(alphas[layer]) / rank if layer in alphas else saved_factor(source, saved, name, rank)
        layers[name] = (down, state[up_key], factor)
    if not layers:
        raise UserError(f"backbone.lora={source}: no LoRA layers of the {denoiser_name} in it")
    unread = sorted(key for key in state if key not in read_keys and (key.startswith(prefix) or key.endswith(".alpha")))
    if unread or saved.get("use_dora"):
        what = unread[0] if unread else "DoRA"
        raise UserError(f"backbone.lora={source}: {what} would not be applied; only lora_A and lora_B weights can be")
    others = sorted({key.split(".")[0] for key in state} - {denoiser_name})
    return layers, others


def saved_factor(source: str, saved: Mapping[str, Any], layer: str, rank: int) -> float:
    """Return alpha / rank of a layer by peft's configuration (rank-stabilised: alpha / sqrt(rank)); 1 without one.

    Raises:
        UserError: the configuration says another rank than the weights have.
    """
    if not saved:
        return 1.0

    def value(name: str) -> float:
        patterns = saved.get("rank_pattern" if name == "r" else "alpha_pattern") or {}
        # as peft matches them: whole names, or their ends
        matching = [number for key, number in patterns.items() if re.match(rf"(.*\.)?({key})$", layer)]
        return float(matching[0] if matching else saved.get(name, PEFT_DEFAULT))

    if value("r") != rank:
        raise UserError(f"backbone.lora={source}: {layer} has rank {rank}, its metadata says {value('r'):g}")
    return value("lora_alpha") / (math.sqrt(rank) if saved.get("use_rslora") else rank)
