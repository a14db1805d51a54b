"""Counts of a model's parts as data: the cost of a call by its rows, and what was counted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from npnet.description import Description
from npnet.errors import UserError, under
from npnet.fields import Name, Whole, from_mapping
from npnet.networks.arguments import NPNetArguments, is_unet
from npnet.untrusted import read_json
from npnet.work.atomic import write_json
from npnet.work.request import digest

FOLDER = Path(__file__).parent / "counted"
"""The counts of the shipped YAMLs: a file for each group, written by ``benchmarks/counts.py``."""
Kind = Literal["half", "convolution", "float32"]
KINDS: tuple[Kind, ...] = ("half", "convolution", "float32")
"""Of arithmetic: half precision; convolutions in float32, which a GPU computes in TF32 where it can; other float32."""
Group = Literal["backbone", "metric", "network"]
NO_MATTER: dict[Group, tuple[str, ...]] = {
    "backbone": (
        *("settings", "device", "revision", "spacing", "lora", "lora_scale", "text_encoder_batch_size"),
        *("offload_text_encoders", "embedding_cache", "channels_last", "compile", "shift", "embedded_guidance"),
        *("true_cfg", "guidance_distilled"),
    ),
    "metric": (),
    "network": ("pretrained_trunk", "alpha_init", "beta_init", "singular_vector_signs"),
}
"""Keys that change no count, or (where the text encoders lie) only what is made of the counts."""
WHERE = ("path", "variant", "denoiser", "clip_path", "tokenizer_path", "prompt_length", "pooled_embed_dim")
"""Keys that say where weights lie, which are taken to have the sizes of the published ones; and of networks, sizes of
prompts, which cost next to nothing."""


@dataclass(frozen=True)
class Part(Description):
    """The cost of a part of a model, for a call with any number of rows (samples, pictures, prompts).

    Attributes:
        weights_bytes: of its weights.
        flops: of a row, by ``KINDS``.
        first_launches: kernels of a call.
        row_launches: more kernels for each further row; 0 where rows are computed at once.
        first_bytes: held at the peak of a call of one row, its input and output among them, its weights not.
        row_bytes: more for each further row.
    """

    weights_bytes: Whole
    flops: Mapping[Kind, Whole]
    first_launches: Whole
    row_launches: Whole
    first_bytes: Whole
    row_bytes: Whole

    def held_bytes(self, rows: int) -> int:
        """Return what a call of so many rows holds at its peak, without the weights."""
        return self.first_bytes + (rows - 1) * self.row_bytes if rows else 0

    def launches(self, rows: int) -> int:
        """Return the kernels of a call of so many rows."""
        return self.first_launches + (rows - 1) * self.row_launches

    @property
    def total_flops(self) -> int:
        """Return the FLOPs of a row."""
        return sum(self.flops.values())


@dataclass(frozen=True)
class Counts:
    """What was counted.

    Attributes:
        name: of the YAML, or of the class where it is a user's own.
        of: its class and the keys that decide the counts; see ``identity``.
        parts: by name: ``text_encoders``, ``denoiser``, ``decoder``; ``scorer``; ``forward``, ``training``.
        exact: False where the weights lie elsewhere than those that were counted, see ``WHERE``.
    """

    name: Name
    of: Mapping[str, Any]
    parts: Mapping[str, Part]
    exact: bool = True


def identity(group: Group, described: Any) -> dict[str, Any]:
    """Return what decides the counts, as JSON values.

    Args:
        group: of the configuration.
        described: a description; of a network, the keys of its node.
    """
    if isinstance(described, Mapping):
        keys = {name: value for name, value in described.items() if name != "_target_"}
        kind = str(described["_target_"]).rpartition(".")[2]
        if kind == "NPNet":
            keys = _whole(keys)
    else:
        keys = {field.name: getattr(described, field.name) for field in fields(described)}
        kind = type(described).__name__
    decides = {name: keys[name] for name in sorted(keys) if name not in NO_MATTER[group]}
    return {"class": kind, **json.loads(json.dumps(decides, default=str))}


def _whole(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return an NPNet's keys with their defaults; of a U-Net, without those that only a Swin reads."""
    whole = from_mapping(NPNetArguments, keys).plain()
    unread = ("feature_layout", "position_map") if is_unet(whole["trunk"]) else ()
    return {name: value for name, value in whole.items() if name not in unread}


def find(group: Group, described: Any) -> Counts | None:
    """Return the counts of a part: shipped, or counted before on this machine; None where there are none.

    Raises:
        UserError: a file of counts is damaged.
    """
    of = identity(group, described)
    shipped = stored(group)
    found = next((counts for counts in shipped if counts.of == of), None) or _read_own(group, of)
    if found is not None:
        return found
    near = next((counts for counts in shipped if _placeless(counts.of) == _placeless(of)), None)
    return None if near is None else Counts(near.name, of, near.parts, exact=False)


@cache
def stored(group: Group) -> tuple[Counts, ...]:
    """Return the counts of the shipped YAMLs of a group.

    Raises:
        UserError: the file is damaged.
    """
    path = FOLDER / f"{group}.json"
    found = read_json(path) if path.is_file() else {}
    return tuple(_counts(name, entry, path) for name, entry in found.items())


def keep(group: Group, counts: Counts) -> Path:
    """Keep counts on this machine, for the next time; returns the file."""
    path = _own_file(group, counts.of)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, plain(counts))
    return path


def plain(counts: Counts) -> dict[str, Any]:
    """Return counts as a file holds them."""
    return {"of": dict(counts.of), "parts": {name: asdict(part) for name, part in counts.parts.items()}}


def _read_own(group: Group, of: Mapping[str, Any]) -> Counts | None:
    path = _own_file(group, of)
    return _counts(str(of["class"]), read_json(path), path) if path.is_file() else None


def _counts(name: str, entry: Any, path: Path) -> Counts:
    with under(f"{path}: {name}"):
        if not isinstance(entry, dict) or not isinstance(entry.get("parts"), dict):
            raise UserError(f"{path}: {name} holds no counts; remove the file, and npnet plan counts again")
        parts = {part: from_mapping(Part, values) for part, values in entry["parts"].items()}
        return Counts(name, entry.get("of", {}), parts)


def _own_file(group: Group, of: Mapping[str, Any]) -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "npnet" / "counts" / f"{group}-{digest(of)[:16]}.json"


def _placeless(of: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in of.items() if name not in WHERE}
