"""The format of a pair on disk: the only home of member names and keys.

A pair is one webdataset sample; its members share the key, which has no dot (webdataset cuts a file name at the first
one). A member's name is what follows the key:

- ``noise.safetensors``: ``source_noise`` and ``golden_noise``, float16, (C, *grid);
- ``json``: ``key``, ``prompt``, ``prompt_index``, ``seed``, ``scores`` {metric: {``source``, ``golden``}}, ``kept``;
- ``embeds.safetensors`` (optional): what the backbone's text encoders made of the prompt, floating ones as float16:
  ``prompt_embeds`` (L, D), ``pooled_prompt_embeds`` (P,), ``prompt_mask`` (L,), whichever the family has;
- ``source.webp``, ``golden.webp`` (optional): the two pictures, to look at.

Reading runs no code from the file: safetensors and JSON alone, every value checked. webdataset's own ``.decode()``
unpickles, and is never used.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from npnet.data.sidecars import TriedPair, scores_from_json, scores_to_json
from npnet.data.tensors import is_finite, load_tensors
from npnet.drawing.webp import encode_webp
from npnet.errors import UserError, reworded
from npnet.fields import checked
from npnet.records import Conditioning, NoisePair
from npnet.untrusted import parse_json

KEY = "__key__"
"""Where webdataset puts a sample's key."""
NOISE = "noise.safetensors"
RECORD = "json"
EMBEDS = "embeds.safetensors"
SOURCE_IMAGE = "source.webp"
GOLDEN_IMAGE = "golden.webp"
MEMBERS = (NOISE, RECORD, EMBEDS, SOURCE_IMAGE, GOLDEN_IMAGE)
"""The whitelist: a sample with any other member is refused."""

SOURCE, GOLDEN = "source_noise", "golden_noise"
EMBED_NAMES = ("prompt_embeds", "pooled_prompt_embeds", "prompt_mask")
EMBED_DIMENSIONS = {"prompt_embeds": 2, "pooled_prompt_embeds": 1, "prompt_mask": 1}
MOST_PIXELS = 1 << 28


def encode(pair: NoisePair, prompt_index: int, images: tuple[Tensor, Tensor] | None = None) -> dict[str, Any]:
    """Turn a pair into a webdataset sample: member name -> bytes, and the key; equal pairs give equal bytes.

    Args:
        pair: the pair; noises of any floating dtype.
        prompt_index: the prompt's number in its set.
        images: the source and the golden picture, ``(3, H, W)`` in [0, 1], or the two videos, of which a frame is kept.
    """
    record = {
        "key": pair.key,
        "prompt": pair.prompt,
        "prompt_index": prompt_index,
        "seed": pair.seed,
        "scores": scores_to_json(pair.scores),
        "kept": pair.kept,
    }
    sample: dict[str, Any] = {
        KEY: pair.key,
        NOISE: _save({SOURCE: pair.source_noise.half(), GOLDEN: pair.golden_noise.half()}),
        RECORD: _record(record),
    }
    if pair.prompt_embeds:
        sample[EMBEDS] = _save({name: to_half(tensor) for name, tensor in pair.prompt_embeds.items()})
    if images is not None:
        sample[SOURCE_IMAGE], sample[GOLDEN_IMAGE] = map(encode_webp, images)
    return sample


def with_kept(sample: Mapping[str, Any], kept: bool, where: str) -> dict[str, Any]:
    """Return a sample whose record says ``kept``; its other members are the same bytes.

    Raises:
        UserError: it has no record.
    """
    kinds = (ValueError, KeyError, TypeError)
    with reworded(kinds, UserError, f"{where}: sample {sample.get(KEY)}: has no record: "):
        record = parse_json(sample[RECORD])
        return {**sample, RECORD: _record({**record, "kept": kept})}


def decode(sample: Mapping[str, Any], where: str) -> NoisePair:
    """Read a webdataset sample back.

    Args:
        sample: member name -> bytes, and ``__key__``; further names that start with ``__`` are webdataset's own.
        where: the file it came from, for the error line.

    Returns:
        The pair, its noises float16; ``prompt_embeds`` is None where the sample holds none.

    Raises:
        UserError: names the file and the key, and what is missing or wrong.
    """
    key = str(sample.get(KEY, "?"))
    kinds = (ValueError, TypeError, KeyError, AttributeError)
    with reworded(kinds, UserError, f"{where}: sample {key}: "):
        return _decode(sample, key)


def _decode(sample: Mapping[str, Any], key: str) -> NoisePair:
    foreign = [name for name in sample if name not in MEMBERS and not name.startswith("__")]
    if foreign:
        raise ValueError(f"member {foreign[0]!r} is not of this format; allowed: {', '.join(MEMBERS)}")
    record = parse_json(sample[RECORD])
    if not isinstance(record, dict) or record.get("key") != key:
        raise ValueError(f"its {RECORD} is not the record of this key")
    noises = load_tensors(sample[NOISE])
    if noises.keys() > {SOURCE, GOLDEN}:
        raise ValueError(f"{NOISE} holds more than {SOURCE} and {GOLDEN}")
    for name in (SOURCE, GOLDEN):
        noise = noises[name]
        if noise.dtype != torch.float16 or noise.ndim < 2 or not is_finite(noise):
            raise ValueError(f"{name} must be finite float16 (C, *grid), got {noise.dtype} {tuple(noise.shape)}")
    embeds = load_tensors(sample[EMBEDS]) if EMBEDS in sample else None
    if embeds is not None and not embeds:
        raise ValueError(f"{EMBEDS} holds no tensor")
    for name, tensor in (embeds or {}).items():
        if name != "prompt_mask" and not tensor.is_floating_point():
            raise ValueError(f"embedding {name} must hold floating values, got {tensor.dtype}")
        if name not in EMBED_NAMES or tensor.ndim != EMBED_DIMENSIONS[name] or not is_finite(tensor):
            allowed = ", ".join(f"{known} of {number}" for known, number in EMBED_DIMENSIONS.items())
            raise ValueError(
                f"embedding {name} must be finite, allowed dimensions: {allowed}; got {tuple(tensor.shape)}"
            )
    return NoisePair(
        key=key,
        prompt=_typed(record, "prompt", str),
        seed=_typed(record, "seed", int),
        source_noise=noises[SOURCE],
        golden_noise=noises[GOLDEN],
        scores=scores_from_json(_typed(record, "scores", dict)),
        kept=_typed(record, "kept", bool),
        prompt_embeds=embeds,
    )


def check(sample: Mapping[str, Any], where: str) -> None:
    """Refuse a sample of which any member, the pictures included, is not what it says.

    Raises:
        UserError: names the file and the key; see ``decode``.
    """
    decode(sample, where)
    for name in (SOURCE_IMAGE, GOLDEN_IMAGE):
        if name in sample:
            kinds = (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError)
            with (
                reworded(kinds, UserError, f"{where}: sample {sample[KEY]}: {name} is not a picture: "),
                Image.open(io.BytesIO(sample[name]), formats=["WEBP"]) as picture,
            ):
                if picture.width * picture.height > MOST_PIXELS:
                    raise ValueError(f"has {picture.width} x {picture.height} pixels")
                picture.load()


def agrees(sample: Mapping[str, Any], pair: TriedPair) -> bool:
    """Say whether a sample is the pair that a sidecar lists, without reading its noises."""
    try:
        record = parse_json(sample[RECORD])
        return (
            sample[KEY] == pair.key
            and (record["prompt"], record["seed"], record["kept"]) == (pair.prompt, pair.seed, pair.kept)
            and record["scores"] == scores_to_json(pair.scores)
        )
    except (ValueError, KeyError, TypeError):
        return False


def prompt_embeds(conditioning: Conditioning, row: int) -> dict[str, Tensor]:
    """Return what is stored of one prompt's embeddings: the conditional ones, without the batch dimension."""
    tensors = {name: getattr(conditioning, name) for name in EMBED_NAMES}
    return {name: tensor[row].cpu() for name, tensor in tensors.items() if tensor is not None}


def _record(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _typed(record: Mapping[str, Any], name: str, kind: type) -> Any:
    return checked(kind, record[name], name)


def _save(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})


def to_half(tensor: Tensor) -> Tensor:
    """Return a floating tensor as it is stored."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.isfinite(half).all() else tensor.float()  # a few encoders exceed float16's 65504
