"""The prompts of a pipeline's call, encoded: as it was asked, or overheard while it encodes them itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.backbones.runtime.parts import negative
from npnet.backbones.runtime.text import PipelineText
from npnet.errors import UserError
from npnet.records import Conditioning

Prompts = str | Sequence[str]


def asked(
    backbone: LoadedBackbone, prompt: Prompts | None, negative_prompt: Prompts | None, embeds: Mapping[str, Tensor]
) -> Conditioning:
    """Return what the pipeline would make of its arguments, a row for each prompt."""
    if prompt is None:
        if "prompt_embeds" not in embeds:
            raise UserError("prompt=None: a prompt is needed, or prompt_embeds")
        return Conditioning(("",) * len(embeds["prompt_embeds"]), **embeds)  # type: ignore[arg-type]
    if embeds:
        raise UserError(f"{', '.join(embeds)}: give a prompt or its embeddings, not both")
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    conditioning = backbone.encode(prompts)
    if negative_prompt is None:
        return conditioning
    unwanted = [negative_prompt] * len(prompts) if isinstance(negative_prompt, str) else list(negative_prompt)
    tensors = backbone.encode(unwanted).tensors()
    table = {negative(name): tensor for name, tensor in tensors.items() if "negative_" not in name}
    found = _arguments(table)
    return replace(conditioning, **{**found, "extras": {**conditioning.extras, **found["extras"]}})


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
    copies = count // len(table["prompt_embeds"])
    if copies > 1:  # a family may repeat a prompt's rows after it drew the noise
        table = {name: tensor.repeat_interleave(copies, dim=0) for name, tensor in table.items()}
    said = calls[0][0]
    prompts = [said or ""] if isinstance(said, str) or said is None else list(said)
    every = [prompt for prompt in prompts for _ in range(count // len(prompts))]
    return Conditioning(tuple(every), **_arguments(table))


def _arguments(table: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return tensors by name as arguments of ``Conditioning``."""
    extras = {name.removeprefix("extras."): tensor for name, tensor in table.items() if name.startswith("extras.")}
    return {**{name: tensor for name, tensor in table.items() if not name.startswith("extras.")}, "extras": extras}
