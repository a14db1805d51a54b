"""Where weights lie, and what is missing there: checked before anything is loaded, in one line each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npnet.errors import UserError, one_line

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of published pipelines that we never load."""
LONGEST_HEADER = 100_000_000
"""Bytes; safetensors refuses longer ones."""


def is_local(source: str) -> bool:
    """Say whether ``source`` means a path on this machine; ``owner/name...`` means the hub where no such path is."""
    path = Path(source)
    return path.exists() or path.is_absolute() or source.startswith(".") or "/" not in source


def check_source(
    key: str, source: str, revision: str | None = None, needed: Mapping[str, str | None] | None = None
) -> None:
    """Refuse a pipeline that cannot be loaded: an incomplete directory, or a hub id without hub and cache.

    Args:
        key: of the configuration, for the error line.
        source: a directory or a hub id.
        revision: of the hub repository.
        needed: the parts that the family cannot do without, each with its class where only one will do.

    Raises:
        UserError: names the key, the path and what is missing.
    """
    if is_local(source) or source.count("/") != 1:
        check_folder(key, Path(source), needed)
        return
    check_cached(key, source, "model_index.json", revision)
    index = cached_file(source, "model_index.json", revision)
    if index:
        read_index(key, source, index, needed)


def check_part(key: str, source: str | None, classes: Sequence[str]) -> None:
    """Refuse a part (a VAE, a denoiser) that cannot be loaded.

    Args:
        key: of the configuration, for the error line.
        source: see ``loading.load_part``.
        classes: of diffusers; what the part may be.

    Raises:
        UserError: names the key and the path.
    """
    if not source:
        return
    if is_local(source):
        check_local(key, Path(source))
        if Path(source).is_dir():
            part_class(key, source, Path(source) / "config.json", classes)
        return
    repo, subfolder, file = split_hub_path(source)
    wanted = "/".join(filter(None, (subfolder, file or "config.json")))
    check_cached(key, repo, wanted)
    found = None if file else cached_file(repo, wanted)
    if found:
        part_class(key, source, found, classes)


def check_lora(key: str, source: str | None) -> None:
    """Refuse a LoRA that cannot be loaded.

    Raises:
        UserError: names the key and the path.
    """
    if not source:
        return
    if is_local(source):
        check_local(key, Path(source))
        return
    from huggingface_hub import is_offline_mode

    repo, subfolder, file = split_hub_path(source)
    if file is None and is_offline_mode():  # only the hub can say which files there are
        raise UserError(
            f"{key}={source}: the hub is switched off (HF_HUB_OFFLINE); name the file: {source}/FILE.safetensors"
        )
    if file:
        check_cached(key, repo, "/".join(filter(None, (subfolder, file))))


def check_local(key: str, path: Path) -> None:
    """Refuse a path that is not there, or whose safetensors files are damaged.

    Raises:
        UserError: names the key and the file.
    """
    if not path.exists():
        raise UserError(f"{key}={path}: no such file or directory")
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    for file in files:
        wrong = damage(file) if file.suffix == ".safetensors" else None
        if wrong:
            raise UserError(f"{key}={path}: {file.name} {wrong}")


def part_class(key: str, source: str, config_file: Path, classes: Sequence[str]) -> str:
    """Return the diffusers class of a part, the first of ``classes`` where its configuration names none.

    Raises:
        UserError: there is no configuration, or it names a class that is not among ``classes``.
    """
    if not config_file.is_file():
        raise UserError(f"{key}={source}: no diffusers model there (config.json is missing)")
    named = read_mapping(key, source, config_file).get("_class_name", classes[0])
    if named not in classes:
        raise UserError(f"{key}={source}: its class is {named}; allowed: {', '.join(classes)}")
    return str(named)


def read_mapping(key: str, source: object, file: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        UserError: the file is damaged.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{key}={source}: {file.name} cannot be read: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise UserError(f"{key}={source}: {file.name} cannot be read: a JSON object is needed")
    return found


def read_index(key: str, source: object, index: Path, needed: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """Return the parts that a ``model_index.json`` names, by name: (library, class).

    Raises:
        UserError: the file is damaged, or the pipeline is of another family (a needed part is not there, or another).
    """
    parts = {
        name: described
        for name, described in read_mapping(key, source, index).items()
        if not name.startswith("_") and isinstance(described, list) and len(described) == 2 and described[0]
    }
    for name, class_name in (needed or {}).items():
        if name not in parts:
            raise UserError(f"{key}={source}: a pipeline of another family (it has no {name})")
        if class_name not in (None, parts[name][1]):
            found = parts[name][1]
            raise UserError(f"{key}={source}: a pipeline of another family (its {name} is {found}, not {class_name})")
    return parts


def published_schedule(key: str, source: str, revision: str | None = None) -> dict[str, Any] | None:
    """Return a pipeline's scheduler configuration where it is on this machine, without the pipeline; or None.

    Raises:
        UserError: the file is damaged.
    """
    name = "scheduler/scheduler_config.json"
    file = Path(source) / name if is_local(source) else cached_file(source, name, revision)
    return read_mapping(key, source, file) if file and file.is_file() else None


def check_cached(key: str, repo: str, file: str, revision: str | None = None) -> None:
    """Refuse a hub repository that is not on this machine when the hub is switched off.

    Raises:
        UserError: HF_HUB_OFFLINE is set and ``file`` is not in the cache.
    """
    from huggingface_hub import is_offline_mode

    if is_offline_mode() and cached_file(repo, file, revision) is None:
        raise UserError(f"{key}={repo}: not in the local hub cache, and the hub is switched off (HF_HUB_OFFLINE)")


def cached_file(repo: str, file: str, revision: str | None = None) -> Path | None:
    """Return the path of a hub file in the local cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def check_folder(key: str, folder: Path, needed: Mapping[str, str | None] | None = None) -> None:
    """Refuse a directory that is no diffusers pipeline, or that lacks part of one.

    Raises:
        UserError: names what is missing.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"{key}={folder}: no diffusers pipeline there (model_index.json is missing)")
    for name in read_index(key, folder, index, needed):
        missing = None if name in UNUSED else missing_file(folder / name, name)
        if missing:
            raise UserError(f"{key}={folder}: the pipeline is incomplete ({name}/{missing})")


def missing_file(part: Path, name: str) -> str | None:
    """Return what a component's folder lacks, in words, or None."""
    if not part.is_dir():
        return " is missing"
    if name.startswith("scheduler"):
        return None if (part / "scheduler_config.json").is_file() else "scheduler_config.json is missing"
    if name.startswith("tokenizer"):
        return None if any((part / f).is_file() for f in TOKENIZER_FILES) else "its vocabulary is missing"
    if not (part / "config.json").is_file():
        return "config.json is missing"
    weights = sorted(part.glob("*.safetensors"))
    for index in part.glob("*.safetensors.index*.json"):
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, TypeError, KeyError, AttributeError):
            return f"{index.name} is damaged"
        for shard in shards:
            if not (part / shard).is_file():
                return f"{shard} is missing"
    if not weights:
        return "*.safetensors is missing"
    wrong = [f"{file.name} {found}" for file in weights if (found := damage(file))]
    return wrong[0] if wrong else None


def damage(file: Path) -> str | None:
    """Return what is wrong with a safetensors file, in words, or None: only its header is read.

    An interrupted download leaves a file shorter than its header says; one that reserved its space first, zeros.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or size - 8 < length <= LONGEST_HEADER:
            return "is cut short"
        if not 2 <= length <= LONGEST_HEADER:
            return "is damaged"
        try:
            header = json.loads(stream.read(length))
            end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
            return "is cut short" if size < 8 + length + end else None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return "is damaged"


def split_hub_path(source: str) -> tuple[str, str | None, str | None]:
    """Split ``owner/name/folder/file.safetensors`` into the repository, its folder and its file."""
    words = source.split("/")
    file = words.pop() if words[-1].endswith(".safetensors") else None
    return "/".join(words[:2]), "/".join(words[2:]) or None, file
