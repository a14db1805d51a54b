"""A backbone of diffusers at its full size on a fake GPU, and the counts of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
import torch
import transformers
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from npnet.backbones.base import Backbone
from npnet.backbones.files import INDEX, read_index
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.backbones.runtime.parts import negative
from npnet.backbones.runtime.pipeline import borrow
from npnet.backbones.runtime.text import PipelineText, conditioning_of
from npnet.costs.counts import Counts, identity
from npnet.costs.published import PARTS, PartConfigs
from npnet.costs.runtime.counter import CUDA, count, move, weight_bytes
from npnet.errors import UserError
from npnet.records import Conditioning
from npnet.weights.files import read_json
from npnet.weights.sources import fetch

CLIP_TOKENS, T5_TOKENS = 77, 256
"""Of a prompt, where the model does not say."""
LEVEL = 500.0
"""The timestep of the counted evaluation; any costs the same."""


def count_backbone(name: str, described: Backbone) -> Counts:
    """Count the parts of a backbone: nothing is loaded, only the small files that say its sizes are read.

    Raises:
        UserError: it is no pipeline of diffusers, or its sizes cannot be had.
    """
    mode, backbone = on_gpu(described)
    pipeline = backbone.pipeline
    encoders = text_encoders(pipeline)

    def encode(rows: int) -> None:
        for encoder, length in encoders.items():
            encoder(torch.empty(rows, length_of(length, described), dtype=torch.long, device=CUDA))

    def denoise(rows: int) -> Any:
        noise = torch.empty(rows, *backbone.latent_shape(), device=CUDA)
        given = backbone.with_guidance(conditioning(backbone, rows), 1.0)
        return backbone.predict_branches(noise, LEVEL, given, unconditional=False)

    def decode(rows: int) -> Any:
        return backbone.decode(torch.empty(rows, *backbone.latent_shape(), device=CUDA))

    with torch.no_grad():
        parts = {
            "text_encoders": count(mode, encode, weight_bytes(*encoders)),
            "denoiser": count(mode, denoise, weight_bytes(backbone.denoiser.module)),
            "decoder": count(mode, decode, weight_bytes(pipeline.vae)),
        }
    return Counts(name, identity("backbone", described), parts)


def on_gpu(described: Backbone) -> tuple[FakeTensorMode, LoadedBackbone]:
    """Return a backbone at its full size on the fake GPU.

    Raises:
        UserError: see ``count_backbone``.
    """
    if not isinstance(described, PipelineBackbone) or hasattr(described, "controlnet"):
        raise UserError(f"backbone: {described.name} cannot be counted; a pipeline of diffusers alone can")
    pipeline, mode = make_pipeline(described), FakeTensorMode(allow_non_fake_inputs=True)
    dtype = getattr(torch, described.dtype)
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            upcast = name == "vae" and getattr(part.config, "force_upcast", False)
            whole = name in described.layout.float32_parts or upcast
            move(mode, part, torch.float32 if whole else dtype)
    if described.vae_slicing:
        pipeline.vae.enable_slicing()
    return mode, borrow(described, pipeline, CUDA, dtype)


def make_pipeline(described: PipelineBackbone) -> Any:
    """Return the pipeline of a description, its modules without memory, its tokenizers left out.

    Raises:
        UserError: the files that say its sizes cannot be had.
    """
    made: dict[str, Any] = {}
    for name, (kind, config) in part_configs(described).items():
        if name.startswith("scheduler"):
            made[name] = getattr(diffusers, kind).from_config(dict(config))
        elif hasattr(diffusers, kind):
            with torch.device("meta"):
                made[name] = getattr(diffusers, kind).from_config(dict(config))
        else:
            cls = getattr(transformers, kind)
            with torch.device("meta"):
                made[name] = cls(cls.config_class.from_dict(dict(config)))
    tokenizers = {n.replace("text_encoder", "tokenizer"): None for n in made if n.startswith("text_encoder")}
    options = described.runtime_class().options(described, getattr(torch, described.dtype))
    optional = dict.fromkeys(part for part in described.layout.optional_parts if part not in made)
    return getattr(diffusers, described.layout.pipeline)(**{**optional, **made, **tokenizers, **options})


def part_configs(described: PipelineBackbone) -> PartConfigs:
    """Return the class and configuration of each part: from the pipeline's own small files, or as published.

    Raises:
        UserError: they cannot be had.
    """
    source, revision = described.source, described.revision
    found = dict(PARTS.get(source, {}))
    if not found:
        index = read_index("path", source, fetch(source, [INDEX], "path", revision), described.needed())
        for name, (_, kind) in index.items():
            if name.startswith(("text_encoder", "vae", "scheduler", described.layout.denoiser)):
                file = "scheduler_config.json" if name.startswith("scheduler") else "config.json"
                path = fetch(source, [f"{name}/{file}"], "path", revision)
                found[name] = (kind, read_json(path, "path", source))
    for name, other in ((described.layout.denoiser, described.denoiser), ("vae", described.vae)):
        if other and not other.endswith(".safetensors"):
            config: Mapping[str, Any] = read_json(fetch(other, ["config.json"], name), name, other)
            found[name] = (str(config.get("_class_name", found[name][0])), config)
    return found


def conditioning(backbone: LoadedBackbone, rows: int) -> Conditioning:
    """Return the conditioning of prompts on the fake GPU; to be called under its mode."""
    text = backbone.text_encoder
    assert isinstance(text, PipelineText)
    table = text.blank(rows)
    if "unconditional_branch" in backbone.capabilities:
        table |= {negative(name): tensor for name, tensor in table.items()}
    return conditioning_of(["a"] * rows, table)


def text_encoders(pipeline: Any) -> dict[nn.Module, int | None]:
    """Return the text encoders, and how many tokens each has positions for; None of a T5."""
    found = [part for name, part in pipeline.components.items() if name.startswith("text_encoder") and part is not None]
    return {part: getattr(part.config, "max_position_embeddings", None) for part in found}


def length_of(positions: int | None, described: Any) -> int:
    """Return the tokens that a text encoder is given for each prompt; a language model has positions for far more."""
    asked = getattr(described, "max_sequence_length", None)
    if positions is None or (asked is not None and positions > CLIP_TOKENS):
        return asked or T5_TOKENS
    return min(positions, CLIP_TOKENS)
