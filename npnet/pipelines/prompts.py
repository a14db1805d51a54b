"""The embeddings of a pipeline's call: encoded from its arguments, or recorded while the pipeline encodes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from npnet import backbones
from npnet.backbones.pipeline import PipelineBackbone
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.backbones.runtime.text import PipelineText, with_negative
from npnet.errors import UserError
from npnet.records import Conditioning

Prompts = str | Sequence[str]
PAIR = ("prompt_embeds", "negative_prompt_embeds")
POOLED = ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")
TOKEN_MASK = "prompt_embeds_mask"
MASKS = ("prompt_attention_mask", "negative_prompt_attention_mask")
ENCODED: dict[type[PipelineBackbone], tuple[tuple[str, ...], ...]] = {
    backbones.StableDiffusion: (PAIR,),
    backbones.StableDiffusionXL: ((*PAIR, *POOLED),),
    backbones.StableDiffusion3: ((*PAIR, *POOLED),),
    backbones.HunyuanDiT: ((*PAIR, *MASKS), tuple(f"{name}_2" for name in (*PAIR, *MASKS))),
    backbones.Flux: ((PAIR[0], POOLED[0]),),
    backbones.Flux2Klein: ((PAIR[0],), (PAIR[1],)),
    backbones.QwenImage: ((PAIR[0], TOKEN_MASK), (PAIR[1], f"negative_{TOKEN_MASK}")),
    backbones.ZImage: (PAIR,),
    backbones.SanaSprint: ((PAIR[0], MASKS[0]),),
    backbones.Wan: (PAIR,),
}
"""By which names a family's pipeline takes what its ``encode_prompt`` returns, for each of the calls that it makes."""


def calls_of(family: type[PipelineBackbone], prompt: Any, embeds: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return embeddings, by the names of a family's pipeline, as if the pipeline had just made them of ``prompt``."""
    calls = [[embeds.get(name) for name in names] for names in ENCODED[family]]
    return [(prompt, call) for call in calls if call[0] is not None]


def asked(
    family: type[PipelineBackbone],
    backbone: LoadedBackbone,
    prompt: Prompts | None,
    negative_prompt: Prompts | None,
    embeds: Mapping[str, Any],
) -> Conditioning:
    """Return what the pipeline would make of its arguments, a row for each prompt.

    Raises:
        UserError: there is neither a prompt nor embeddings, or both, or not all embeddings that the family needs.
    """
    if prompt is not None:
        if unknown := [name for name in embeds if name not in _names(family)]:
            raise UserError(f"{unknown[0]}: GoldenNoise has no argument of this name")
        if embeds:
            raise UserError(f"{', '.join(embeds)}: give a prompt or its embeddings, not both")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        conditioning = backbone.encode(prompts)
    else:
        _check_embeds(family, embeds)
        conditioning = overheard(backbone, calls_of(family, None, embeds), len(embeds[PAIR[0]]))
        if conditioning.negative_prompt_embeds is None and "unconditional_branch" in backbone.capabilities:
            nothing = backbone.encode(conditioning.prompts).tensors()
            conditioning = _with(conditioning, {name: t for name, t in nothing.items() if "negative_" in name})
    if negative_prompt is None:
        return conditioning
    count = len(conditioning)
    unwanted = [negative_prompt] * count if isinstance(negative_prompt, str) else list(negative_prompt)
    return with_negative(conditioning, backbone.encode(unwanted))


def _names(family: type[PipelineBackbone]) -> list[str]:
    """Return the names of all embeddings that a family's pipeline takes."""
    return [name for names in ENCODED[family] for name in names]


def _check_embeds(family: type[PipelineBackbone], embeds: Mapping[str, Any]) -> None:
    if PAIR[0] not in embeds:
        raise UserError("prompt=None: a prompt is needed, or prompt_embeds")
    known = _names(family)
    needed = [name for name in known if not name.startswith("negative_") and name != TOKEN_MASK]
    unknown, missing = [n for n in embeds if n not in known], [n for n in needed if n not in embeds]
    if unknown or missing:
        said = f"{missing[0]} is needed too" if missing else f"{unknown[0]}: unknown; allowed: {', '.join(known)}"
        raise UserError(f"prompt_embeds of {family.layout.pipeline}: {said}")


def overheard(backbone: LoadedBackbone, calls: Sequence[tuple[Any, Any]], count: int) -> Conditioning:
    """Return what a pipeline made of its prompts, a row for each of ``count`` pictures.

    Raises:
        UserError: the pipeline encoded nothing.
    """
    if not calls:
        raise UserError(
            "the pipeline drew its noise before it encoded a prompt, so the noise cannot be made for the prompt"
        )
    encoder = backbone.text_encoder
    assert isinstance(encoder, PipelineText)
    table = encoder.named([returned for _, returned in calls])
    rows = len(table["prompt_embeds"])
    # FLUX.2's pipeline makes one negative row for all prompts that are given as embeddings
    table = {n: t.expand(rows, *t.shape[1:]) if len(t) == 1 else t for n, t in table.items()}
    copies = count // rows
    if copies > 1:  # a family may repeat a prompt's rows after it drew the noise
        table = {name: tensor.repeat_interleave(copies, dim=0) for name, tensor in table.items()}
    said = calls[0][0]
    prompts = [said or ""] if isinstance(said, str) or said is None else list(said)
    every = [prompt for prompt in prompts for _ in range(count // len(prompts))]
    return Conditioning(tuple(every), **_arguments(table))


def _with(conditioning: Conditioning, table: Mapping[str, Tensor]) -> Conditioning:
    """Return a conditioning with further tensors, or others of the same names."""
    found = _arguments(table)
    return replace(conditioning, **{**found, "extras": {**conditioning.extras, **found["extras"]}})


def _arguments(table: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return tensors by name as arguments of ``Conditioning``."""
    extras = {name.removeprefix("extras."): tensor for name, tensor in table.items() if name.startswith("extras.")}
    return {**{name: tensor for name, tensor in table.items() if not name.startswith("extras.")}, "extras": extras}
