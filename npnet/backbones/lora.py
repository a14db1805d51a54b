"""A LoRA of the denoiser, added into its weights once: nothing is left to compute at sampling time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npnet.backbones import loading, sources
from npnet.errors import UserError


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
    for name, (down, up, alpha) in layers.items():
        try:
            weight = denoiser.get_submodule(name).weight
        except AttributeError:
            raise UserError(f"backbone.lora={source}: this model has no layer {name}") from None
        change = (up.float().flatten(1) @ down.float().flatten(1)) * (scale * alpha / len(down))
        if change.numel() != weight.numel():
            raise UserError(f"backbone.lora={source}: {name} is of another shape {tuple(weight.shape)}")
        with torch.no_grad():
            weight.copy_((weight.float() + change.view_as(weight).to(weight.device)).to(weight.dtype))


def read(pipeline: Any, denoiser_name: str, source: str) -> tuple[dict[str, tuple[Tensor, Tensor, float]], list[str]]:
    """Return layer -> (A, B, alpha) of the denoiser, and the names of the other models that the file changes.

    Diffusers' own converters bring the layouts in use (kohya, old and new diffusers, peft) to one.
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
    found = loading.guarded("backbone.lora", source, lambda: pipeline.lora_state_dict(repo, **options))
    state, alphas = found if isinstance(found, tuple) else (found, None)
    state = convert_unet_state_dict_to_peft(state)
    alphas = convert_unet_state_dict_to_peft({key.removesuffix(".alpha"): a for key, a in (alphas or {}).items()})
    alphas = {key.split(".lora_A")[0]: float(alpha) for key, alpha in alphas.items()}
    layers = {}
    for key, down in state.items():
        layer, found_down, _ = key.partition(".lora_A.")
        if not found_down or not layer.startswith(f"{denoiser_name}."):
            continue
        up, alpha = state[key.replace(".lora_A.", ".lora_B.")], alphas.get(layer, float(len(down)))
        layers[layer.removeprefix(f"{denoiser_name}.")] = (down, up, alpha)
    if not layers:
        raise UserError(f"backbone.lora={source}: no LoRA layers of the {denoiser_name} in it")
    others = sorted({key.split(".")[0] for key in state} - {denoiser_name})
    return layers, others
