"""A LoRA of the denoiser, added to its weights once, so that sampling has no extra cost."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
from diffusers.utils import convert_unet_state_dict_to_peft
from safetensors import safe_open
from torch import Tensor

from npnet.backbones.runtime import loading
from npnet.errors import FieldError
from npnet.untrusted import parse_json
from npnet.weights.files import exists, local_path
from npnet.weights.sources import fetch, from_hub, is_local, split_hub_path
from npnet.weights.tensors import read_tensors

PEFT_DEFAULT = 8
"""Peft's rank and alpha, where its configuration leaves them out."""
USUAL_NAME = "pytorch_lora_weights.safetensors"
Layers = dict[str, tuple[Tensor, Tensor, float]]
"""Layer of the denoiser -> (A, B, alpha / rank)."""


def fuse(pipeline: Any, denoiser_name: str, source: str, scale: float) -> None:
    """Add ``scale * alpha / rank * B A`` to every weight of the denoiser that the LoRA names.

    Args:
        pipeline: a diffusers pipeline.
        denoiser_name: ``unet`` or ``transformer``.
        source: a ``.safetensors`` file, its directory, ``owner/name`` or ``owner/name/file.safetensors`` on the hub.
        scale: 1 is the LoRA as it was trained.

    Raises:
        FieldError: it cannot be read, belongs to another model, or holds parts that would not be applied.
    """
    layers, others = read(pipeline, denoiser_name, source)
    if others:
        raise FieldError("lora", source, f"it changes {', '.join(others)} too; only the {denoiser_name} may be")
    denoiser = getattr(pipeline, denoiser_name)
    for name, (down, up, factor) in layers.items():
        try:
            weight = denoiser.get_submodule(name).weight
        except AttributeError:
            raise FieldError("lora", source, f"this model has no layer {name}") from None
        change = (up.float().flatten(1) @ down.float().flatten(1)) * (scale * factor)
        if change.numel() != weight.numel():
            raise FieldError("lora", source, f"{name} has another shape, {tuple(weight.shape)}")
        with torch.no_grad():
            weight.copy_((weight.float() + change.view_as(weight).to(weight.device)).to(weight.dtype))


def read(pipeline: Any, denoiser_name: str, source: str) -> tuple[Layers, list[str]]:
    """Return the layers of the denoiser, and the names of the other models that the file changes.

    The converters of diffusers bring the layouts in use (kohya, old and new diffusers, peft) into one form. Alpha is
    stored beside a layer (kohya) or in the metadata of the file (peft, as diffusers' training scripts write it). Where
    it is not stored, it equals the rank. The converters drop what they do not know, so their result is compared with
    the keys of the file.

    Raises:
        FieldError: it cannot be read, or holds parts that would not be applied (DoRA, biases, an alpha of unknown
            meaning).
    """
    file = weight_file(source)
    tensors = read_tensors(file, "lora")
    damaged = next((key for key, value in tensors.items() if not torch.isfinite(value.float()).all()), None)
    if damaged is not None:
        raise FieldError("lora", source, f"{damaged} holds NaN or infinity")
    # gradients show which tensors of the file reach the layers, whatever a converter does to them
    raw = {key: value.float().requires_grad_(not key.endswith(".alpha")) for key, value in tensors.items()}
    with torch.enable_grad():
        state, alphas, saved = _converted(pipeline, denoiser_name, source, raw, _metadata(file, source))
    prefix = f"{denoiser_name}."
    layers, read_keys = _layers(source, state, alphas, saved, prefix)
    if not layers:
        raise FieldError("lora", source, f"no LoRA layers of the {denoiser_name} in it")
    unread = sorted(key for key in state if key not in read_keys and (key.startswith(prefix) or key.endswith(".alpha")))
    if unread or saved.get("use_dora"):
        raise _not_applied(source, unread[0] if unread else "DoRA")
    others = sorted({key.split(".")[0] for key in state} - {denoiser_name})
    if not others:
        dropped = _dropped(raw, [state[key] for key in sorted(read_keys)])
        if dropped:
            raise _not_applied(source, dropped[0])
    return {name: (down.detach(), up.detach(), factor) for name, (down, up, factor) in layers.items()}, others


def weight_file(source: str) -> Path:
    """Return the file of a LoRA: the one that is named, or the one of its directory or repository.

    Raises:
        FieldError: the file cannot be found or downloaded.
    """
    if is_local(source):
        path = local_path(source)
        if not exists(path):
            raise FieldError("lora", source, "no such file or folder")
        if path.is_file():
            return path
        names = sorted(file.name for file in path.glob("*.safetensors"))
        return path / _usual(names, source)
    repo, subfolder, file = split_hub_path(source)
    folder = f"{subfolder}/" if subfolder else ""
    if file is None:
        with from_hub(source, "lora"):
            found = huggingface_hub.list_repo_files(repo)
        names = [name for name in sorted(found) if name.startswith(folder) and name.endswith(".safetensors")]
        return fetch(repo, [_usual(names, source)], "lora")
    return fetch(repo, [f"{folder}{file}"], "lora")


def saved_factor(source: str, saved: Mapping[str, Any], layer: str, rank: int) -> float:
    """Return alpha / rank of a layer by peft's configuration (rank-stabilised: alpha / sqrt(rank)); 1 without one.

    Raises:
        FieldError: the configuration says another rank than the weights have.
    """
    if not saved:
        return 1.0

    def value(name: str) -> float:
        patterns = saved.get("rank_pattern" if name == "r" else "alpha_pattern") or {}
        # as peft matches them: whole names, or their ends
        matching = [number for key, number in patterns.items() if re.match(rf"(.*\.)?({key})$", layer)]
        return float(matching[0] if matching else saved.get(name, PEFT_DEFAULT))

    if value("r") != rank:
        raise FieldError("lora", source, f"{layer} has rank {rank}, its metadata says {value('r'):g}")
    return value("lora_alpha") / (math.sqrt(rank) if saved.get("use_rslora") else rank)


def _usual(names: Sequence[str], source: str) -> str:
    """Return the file that a LoRA is usually saved as, else the first of ``names``."""
    usual = [name for name in names if Path(name).name == USUAL_NAME]
    if not names:
        raise FieldError("lora", source, "holds no .safetensors file")
    return (usual or list(names))[0]


def _metadata(file: Path, source: str) -> dict[str, Any]:
    """Return what peft saved in the file's header."""
    if file.suffix != ".safetensors":
        return {}
    with safe_open(file, framework="pt") as opened:
        text = (opened.metadata() or {}).get("lora_adapter_metadata")
    return loading.guarded("lora", source, lambda: parse_json(text) if text else {})


def _converted(
    pipeline: Any, denoiser_name: str, source: str, raw: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Return the state in peft's layout, the alphas of its layers, and peft's configuration of the denoiser."""
    options: dict[str, Any] = {"unet_config": pipeline.unet.config} if denoiser_name == "unet" else {}
    if "return_alphas" in inspect.signature(pipeline.lora_state_dict).parameters:
        options["return_alphas"] = True  # without it, FLUX's are dropped
    # what diffusers says that it leaves out is refused here
    found = loading.guarded("lora", source, lambda: pipeline.lora_state_dict(dict(raw), **options), is_quiet=True)
    state, beside = found if isinstance(found, tuple) else (found, None)
    alphas = {key.removesuffix(".alpha"): alpha for key, alpha in (beside or {}).items()}
    alphas = {key.split(".lora_A")[0]: a for key, a in convert_unet_state_dict_to_peft(alphas).items()}
    prefix = f"{denoiser_name}."
    saved = {key.removeprefix(prefix): v for key, v in metadata.items() if key.startswith(prefix)}
    return convert_unet_state_dict_to_peft(state), alphas, saved


def _layers(
    source: str, state: Mapping[str, Tensor], alphas: Mapping[str, Any], saved: Mapping[str, Any], prefix: str
) -> tuple[Layers, set[str]]:
    """Return the layers under ``prefix``, and the keys of ``state`` that they are made of."""
    layers: Layers = {}
    read_keys: set[str] = set()
    for key, down in state.items():
        layer, found_down, _ = key.partition(".lora_A.")
        up_key = key.replace(".lora_A.", ".lora_B.")
        if not found_down or not layer.startswith(prefix) or up_key not in state:
            continue
        read_keys |= {key, up_key}
        name, rank = layer.removeprefix(prefix), len(down)
        if state[up_key].ndim < 2 or state[up_key].shape[1] != rank:
            raise FieldError("lora", source, f"{name}: lora_A has rank {rank}, lora_B {tuple(state[up_key].shape)[1:]}")
        factor = float(alphas[layer]) / rank if layer in alphas else saved_factor(source, saved, name, rank)
        layers[name] = (down, state[up_key], factor)
    return layers, read_keys


def _dropped(raw: Mapping[str, Tensor], applied: Iterable[Tensor]) -> list[str]:
    """Return the file's keys that reach no layer and would change something; alphas of layers that do are no such."""
    with torch.enable_grad():
        total = sum((tensor.sum() for tensor in applied), torch.zeros(()))
        traced = {key: value for key, value in raw.items() if value.requires_grad}
        reached = torch.autograd.grad(total, list(traced.values()), allow_unused=True)
    arrived = {key for key, gradient in zip(traced, reached, strict=True) if gradient is not None}
    stems = {_stem(key) for key in arrived}
    return sorted(
        key
        for key, value in raw.items()
        if key not in arrived and bool((value != 0).any()) and not (key.endswith(".alpha") and _stem(key) in stems)
    )


def _stem(key: str) -> str:
    """Return a layer's name in the file: ``L.lora_up.weight``, ``L.alpha`` -> ``L``."""
    return re.split(r"\.(?:alpha$|lora|processor|down\.|up\.)", key)[0]


def _not_applied(source: str, what: str) -> FieldError:
    return FieldError("lora", source, f"{what} would not be applied; only lora_A and lora_B weights can be")
