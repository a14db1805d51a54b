"""Files of weights on this machine: their names, damaged or missing ones, and small JSON files beside them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from npnet.errors import FieldError, reworded
from npnet.untrusted import parse_json

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weight files of a transformers repository, the preferred first; only one of them is fetched."""
VOCABULARIES = ("tokenizer.json", "vocab.*", "merges.txt", "*.model")
"""Patterns of the files of which a tokenizer needs at least one."""
TOKENIZER_FILES = (*VOCABULARIES, "*token*.json")
"""Patterns of all that a tokenizer may be stored in."""
LONGEST_HEADER = 100_000_000
"""Bytes; safetensors refuses longer ones."""
LARGEST_JSON = 50_000_000
"""Bytes; a configuration or an index of shards is far smaller."""


def local_path(source: str | Path) -> Path:
    """Return ``source`` as a path on this machine; ``~`` is the home folder."""
    try:
        return Path(source).expanduser()
    except RuntimeError:  # ~NAME of nobody
        return Path(source)


def exists(path: Path) -> bool:
    """Say whether a file or folder exists; a name that is too long does not."""
    try:
        return path.exists()
    except OSError:
        return False


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Say whether ``name`` fits one of the shell ``patterns``."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def is_smoke(*sources: str | Path) -> bool:
    """Say whether one of the local folders is marked, by a file ``SMOKE``, as random weights for a test."""
    return any((local_path(source) / "SMOKE").is_file() for source in sources)


def has_vocabulary(folder: Path) -> bool:
    """Say whether a folder holds a tokenizer's vocabulary."""
    return any(matches(path.name, VOCABULARIES) for path in folder.iterdir())


def read_json(file: Path, field: str, source: object = None) -> dict[str, Any]:
    """Return the object of a small JSON file.

    Args:
        file: to read.
        field: for the error line.
        source: what the field holds, by default the file.

    Raises:
        FieldError: it cannot be read, is too large, or holds no object.
    """
    source = file if source is None else source
    refused = partial(FieldError, field, source)
    with reworded((OSError, ValueError), refused, f"{file.name} cannot be read: ", but=FieldError):
        size = file.stat().st_size
        if size > LARGEST_JSON:
            raise FieldError(field, source, f"{file.name} has {size} bytes; at most {LARGEST_JSON} are read")
        found = parse_json(file.read_bytes(), nan=True)
    if not isinstance(found, dict):
        raise FieldError(field, source, f"{file.name} cannot be read: a JSON object is needed")
    return found


def read_index(index: Path, field: str, source: object = None) -> list[str]:
    """Return the names of the weight files that an index (``*.index.json``) names.

    Raises:
        FieldError: the index is damaged, or names a file outside its folder.
    """
    table = read_json(index, field, source).get("weight_map")
    names = list(table.values()) if isinstance(table, dict) else []
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise FieldError(field, source, f"{index.name} is damaged")
    return sorted(set(names))


def damage(file: Path) -> str | None:
    """Return what is wrong with a safetensors file, in words, or None. Only its header is read.

    An interrupted download leaves a file that is shorter than its header states, or one with zeros.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or size - 8 < length <= LONGEST_HEADER:
            return "is cut short"
        if not 2 <= length <= LONGEST_HEADER:
            return "is damaged"
        try:
            header = parse_json(stream.read(length), surrogates=True)
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
            return "is cut short" if size < 8 + length + end else None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return "is damaged"


def damaged(files: Sequence[Path]) -> str | None:
    """Return which of the safetensors files is damaged and how, in words, or None."""
    for file in files:
        wrong = damage(file) if file.suffix == ".safetensors" else None
        if wrong:
            return f"{file.name} {wrong}"
    return None


def missing_weights(folder: Path) -> str | None:
    """Return what is missing in the safetensors weights of a model's folder, in words, or None."""
    for index in sorted(folder.glob("*.safetensors.index*.json")):
        try:
            shards = read_index(index, "")
        except FieldError:
            return f"{index.name} is damaged"
        for shard in shards:
            if not (folder / shard).is_file():
                return f"{shard} is missing"
    files = sorted(folder.glob("*.safetensors"))
    return damaged(files) if files else "*.safetensors is missing"
