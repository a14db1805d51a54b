"""Where weights lie, and what is missing there: checked before anything is loaded, in one line each."""

from __future__ import annotations

import json
from pathlib import Path

from npnet.errors import UserError, one_line

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of published pipelines that we never load."""


def is_local(source: str) -> bool:
    """Say whether ``source`` means a path on this machine; ``owner/name...`` means the hub where no such path is."""
    path = Path(source)
    return path.exists() or path.is_absolute() or source.startswith(".") or "/" not in source


def check_source(key: str, source: str, revision: str | None = None) -> None:
    """Refuse a pipeline that cannot be loaded: an incomplete directory, or a hub id without hub and cache.

    Raises:
        UserError: names the key, the path and the missing file.
    """
    if is_local(source) or source.count("/") != 1:
        check_folder(key, Path(source))
    else:
        check_cached(key, source, "model_index.json", revision)


def check_part(key: str, source: str | None) -> None:
    """Refuse a part (a VAE, a denoiser, a LoRA) that cannot be loaded.

    Raises:
        UserError: names the key and the path.
    """
    if not source:
        return
    if is_local(source):
        if not Path(source).exists():
            raise UserError(f"{key}={source}: no such file or directory")
        return
    repo, subfolder, file = split_hub_path(source)
    check_cached(key, repo, "/".join(filter(None, (subfolder, file or "config.json"))))


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


def check_folder(key: str, folder: Path) -> None:
    """Refuse a directory that is no diffusers pipeline, or that lacks part of one.

    Raises:
        UserError: names what is missing.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"{key}={folder}: no diffusers pipeline there (model_index.json is missing)")
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{key}={folder}: model_index.json cannot be read: {one_line(error)}") from error
    for name, described in parts.items():
        if name.startswith("_") or name in UNUSED or not isinstance(described, list) or described[0] is None:
            continue
        missing = missing_file(folder / name, name)
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
        for shard in set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()):
            if not (part / shard).is_file():
                return f"{shard} is missing"
    if not weights:
        return "*.safetensors is missing"
    cut = [file.name for file in weights if is_cut(file)]
    return f"{cut[0]} is cut short" if cut else None


def is_cut(file: Path) -> bool:
    """Say whether a safetensors file is shorter than its header says (an interrupted download)."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            return True
        header = json.loads(stream.read(length))
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    return file.stat().st_size < 8 + length + end


def split_hub_path(source: str) -> tuple[str, str | None, str | None]:
    """Split ``owner/name/folder/file.safetensors`` into the repository, its folder and its file."""
    words = source.split("/")
    file = words.pop() if words[-1].endswith(".safetensors") else None
    return "/".join(words[:2]), "/".join(words[2:]) or None, file
