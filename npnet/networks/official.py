"""Reader of the published ``.pth`` checkpoints (xie-lab-ml/Golden-Noise-for-Diffusion-Models).

A file is one dictionary with five entries: ``unet_svd``, ``unet_embedding`` and ``embeeding`` (sic) are state dicts;
``alpha`` and ``beta`` are tensors of shape (1,). SDXL and DreamShaper have the same shapes; Hunyuan-DiT differs in the
width of the text, which is read from ``embeeding``. The Swin's keys are those of timm >= 0.8. Files written with 0.8 to
0.9.5 hold seventeen buffers that later versions compute. Older layouts are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from npnet.errors import one_line, reworded
from npnet.networks.checks import differences
from npnet.weights.tensors import load_values

NAMES = {
    "unet_svd/mlp1.": "singular_values.left.",
    "unet_svd/mlp2.": "singular_values.right.",
    "unet_svd/mlp3.0.": "singular_values.spectrum.",
    "unet_svd/mlp4.": "singular_values.head.",
    "unet_svd/attention.": "singular_values.attention.",
    "unet_embedding/swin.": "residual.trunk.",
    "unet_embedding/downconv.": "residual.to_trunk.",
    "unet_embedding/upconv.": "residual.to_latents.",
    "embeeding/": "text.norm.",
    "alpha": "alpha",
    "beta": "beta",
}
"""Beginnings of the official keys (entry, slash, key) and of ours."""

UNUSED = {
    "unet_svd/bn.weight": (256,),
    "unet_svd/bn.bias": (256,),
    "unet_svd/bn.running_mean": (256,),
    "unet_svd/bn.running_var": (256,),
    "unet_svd/bn.num_batches_tracked": (),
    "unet_embedding/swin.head.fc.weight": (1000, 768),
    "unet_embedding/swin.head.fc.bias": (1000,),
}
"""Tensors that every official file holds and its network never calls."""

PROMPT_LENGTH = 77
"""Tokens of every official network's prompt embeddings."""

OLD_LAYOUT = "unet_embedding/swin.layers.0.downsample."
"""Beginning of a key that only timm 0.6 and older wrote: each stage ended with the downsampling it now begins with."""


def read_official(path: Path, network: Callable[..., nn.Module]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read an official file, every key and shape checked.

    Args:
        path: of the file.
        network: builds the network of the constructor's arguments, to compare keys and shapes with.

    Returns:
        The constructor arguments of its network, with LAPACK's signs, and float32 weights under our names.

    Raises:
        ValueError: it is not such a file, or a key is missing, unknown or of another shape; the message names it.
    """
    tensors = _flatten(_load(path), path)
    if any(name.startswith(OLD_LAYOUT) for name in tensors):
        old = next(name for name in tensors if name.startswith(OLD_LAYOUT))
        raise ValueError(f"{path}: {old} is the key layout of timm 0.6, which cannot be read; timm >= 0.8 is needed")
    config = {
        "text_term": "ada_group_norm",
        "prompt_embed_dim": _prompt_embed_dim(tensors),
        "prompt_length": PROMPT_LENGTH,
        "singular_vector_signs": "lapack",
    }
    ours = {_our_name(name): tensor.float() for name, tensor in tensors.items() if name not in UNUSED}
    expected, buffers = _expected(network, config)
    got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    present = {name: shape for name, shape in buffers.items() if name in got}
    faults = differences(expected | present, got)
    if faults:
        raise ValueError(one_line(f"{path} is not an official NPNet checkpoint: {faults}"))
    return config, {name: tensor for name, tensor in ours.items() if _official_name(name) not in buffers}


def _load(path: Path) -> Mapping[str, Any]:
    with reworded(ValueError, ValueError, f"{path} "):
        return load_values(path)


def _flatten(stored: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors by ``entry/key``; those outside any state dict by their own name."""
    flat: dict[str, Any] = {}
    for entry, value in (stored if isinstance(stored, Mapping) else {"": stored}).items():
        flat |= (
            {f"{entry}/{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {entry: value}
        )
    for name, value in flat.items():
        if not isinstance(name, str):
            raise ValueError(f"{path} is not an official NPNet checkpoint: {name!r} is no name")
        if not isinstance(value, Tensor):
            raise ValueError(f"{path} is not an official NPNet checkpoint: {name} is a {type(value).__name__}")
    return flat


def _prompt_embed_dim(tensors: Mapping[str, Tensor]) -> int:
    weight = tensors.get("embeeding/linear.weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] % PROMPT_LENGTH or not weight.shape[1]:
        return 2048  # the comparison of keys and shapes then names what is wrong
    return weight.shape[1] // PROMPT_LENGTH


def _expected(
    network: Callable[..., nn.Module], config: Mapping[str, Any]
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return the shapes an official file must have and those of the buffers it may have, by official name."""
    with torch.device("meta"):
        built = network(**config)
    needed = {_official_name(name): tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    buffers = {_official_name(name): tuple(tensor.shape) for name, tensor in built.named_buffers()}
    return needed | UNUSED, buffers


def _our_name(official: str) -> str:
    for theirs, ours in NAMES.items():
        if official.startswith(theirs):
            return ours + official.removeprefix(theirs)
    return official


def _official_name(own: str) -> str:
    for theirs, ours in NAMES.items():
        if own.startswith(ours):
            return theirs + own.removeprefix(ours)
    return own
