"""Checkpoints from a local path or a hub id: each file once, every key accounted for, and no pickled code executed.

A model is built without memory (meta device) and then takes the file's own tensors, so there are no random weights that
a missing key could leave behind. Files are safetensors, or PyTorch files of plain tensors read with
``weights_only=True``.
"""

from __future__ import annotations

import fnmatch
import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from npnet.errors import UserError, one_line

Module = TypeVar("Module", bound=nn.Module)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Weight files of a transformers repository, the preferred first; only one of them is fetched."""
TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "merges.txt", "*.model", "*token*.json")
LEGACY_BUFFERS = ("*position_ids",)
"""0, 1, 2, ... : older transformers saved them; they are no weights and are made anew."""


def is_hub_id(source: str) -> bool:
    """Say whether ``source`` reads as ``owner/name``."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", source) is not None and not source.endswith(WEIGHT_SUFFIXES)


def check_source(source: str | None, key: str, hint: str = "") -> None:
    """Refuse a path that is not there; hub ids pass.

    Raises:
        UserError: names the key and the path.
    """
    if source is None or source == "":
        raise UserError(f"{key}: a local path or a hub id is needed{hint}")
    if not Path(source).expanduser().exists() and not is_hub_id(str(source)):
        raise UserError(f"{key}={source}: no such file or folder{hint}")


def fetch(source: str, names: Sequence[str], key: str) -> Path | None:
    """Return the first of ``names`` in a local folder or a hub repository; None where it has none of them.

    A path of a file is returned as it is.

    Raises:
        UserError: the hub cannot be reached, or has no such repository.
    """
    folder = Path(source).expanduser()
    if folder.is_file():
        return folder
    if folder.is_dir():
        return next((folder / name for name in names if (folder / name).is_file()), None)
    check_source(source, key)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        try:
            return Path(hf_hub_download(source, name))
        except LocalEntryNotFoundError as error:  # offline: not "has no such file"
            raise _unreachable(key, source, error) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # the hub's client raises errors of several libraries
            raise _unreachable(key, source, error) from error
    return None


def fetch_needed(source: str, names: Sequence[str], key: str) -> Path:
    """Return what ``fetch`` finds.

    Raises:
        UserError: there is none of ``names``.
    """
    path = fetch(source, names, key)
    if path is None:
        raise UserError(f"{key}={source}: holds none of {', '.join(names)}")
    return path


def fetch_folder(source: str, patterns: Sequence[str], key: str) -> Path:
    """Return a local folder, or one with the hub repository's files that match ``patterns``."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    check_source(source, key)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=list(patterns)))
    except Exception as error:
        raise _unreachable(key, source, error) from error


def read_config(source: str, key: str, name: str = "config.json") -> dict[str, Any] | None:
    """Return a JSON file of a folder or a hub repository; None where there is none."""
    if Path(source).expanduser().is_file():
        return None
    path = fetch(source, [name], key)
    if path is None:
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{key}: {path} is not JSON: {one_line(error)}") from error


def is_smoke(source: str) -> bool:
    """Say whether a local folder is marked as random weights for a test."""
    return (Path(source).expanduser() / "SMOKE").is_file()


def read_state(source: str, names: Sequence[str], key: str) -> dict[str, Tensor]:
    """Return the tensors of the first of ``names`` that a folder or hub repository holds, or that an index names.

    Raises:
        UserError: there is none, or see ``read_weights``.
    """
    path = fetch_needed(source, names, key)
    if not path.name.endswith(".index.json"):
        return read_weights(path, key)
    shards = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    state: dict[str, Tensor] = {}
    for shard in shards:
        state |= read_weights(fetch_needed(source, [shard], key), key)
    return state


def read_weights(path: Path, key: str) -> dict[str, Tensor]:
    """Return the tensors of one file.

    Raises:
        UserError: the file is damaged, or holds more than tensors (pickled code, which is never executed).
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{key}: {path} holds pickled objects, which are never executed: {one_line(error)[:200]}"
        ) from (error)
    except Exception as error:
        raise UserError(f"{key}: {path} cannot be read: {one_line(error)[:200]}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{key}: {path} is no table of tensors")
    return dict(loaded)


def build_empty(make: Callable[[], Module]) -> Module:
    """Build a module without memory for its weights; ``load_strict`` gives it the file's."""
    with torch.device("meta"):
        return make()


def load_strict(
    module: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    dtype: torch.dtype | None = torch.float32,
    ignored: Sequence[str] = LEGACY_BUFFERS,
) -> None:
    """Give ``module`` exactly the tensors of ``state``.

    Args:
        module: built by ``build_empty``.
        state: by the module's own names.
        where: for the error line.
        dtype: floating tensors become this; None keeps the file's.
        ignored: patterns of keys that carry nothing (see ``LEGACY_BUFFERS``) and may be there or not.

    Raises:
        UserError: a key is missing or too many, or has another shape or kind of number.
    """
    wanted = module.state_dict()
    given = {name: value for name, value in state.items() if name in wanted or not _matches(name, ignored)}
    missing, surplus = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    wrong = [
        f"{name} {tuple(given[name].shape)} {given[name].dtype} instead of {tuple(value.shape)} {value.dtype}"
        for name, value in wanted.items()
        if name in given
        and (given[name].shape != value.shape or given[name].is_floating_point() != value.is_floating_point())
    ]
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in (("missing", missing), ("unknown", surplus), ("of another shape or type", wrong))
        if names
    ]
    if problems:
        raise UserError(f"{where}: not this model's weights: {'; '.join(problems)}")
    if dtype is not None:
        given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in given.items()}
    module.load_state_dict(given, strict=True, assign=True)
    for child in module.modules():  # buffers that are saved nowhere
        positions = child._buffers.get("position_ids")
        if positions is not None and positions.is_meta and not next(iter(given.values())).is_meta:
            child._buffers["position_ids"] = torch.arange(positions.shape[-1]).expand(1, -1)
    module.eval().requires_grad_(False)


def require_loaded(module: nn.Module) -> None:
    """Check that nothing was left without values; a bug of ours where something was."""
    empty = [name for name, value in [*module.named_parameters(), *module.named_buffers()] if value.is_meta]
    assert not empty, f"left without values: {empty[:5]}"


def load_tokenizer(source: str, key: str) -> Any:
    """Return the tokenizer of a local folder or hub repository.

    Raises:
        UserError: there is none; transformers itself would return one with an empty vocabulary, silently.
    """
    from transformers import AutoTokenizer

    folder = fetch_folder(source, [*TOKENIZER_FILES, "config.json"], key)
    if not any(_matches(path.name, TOKENIZER_FILES) for path in folder.iterdir()):
        raise UserError(f"{key}={source}: holds no tokenizer files")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:
        raise UserError(f"{key}={source}: has no usable tokenizer: {one_line(error)[:200]}") from error
    special = len(set(tokenizer.all_special_ids))
    if len(tokenizer) <= special + 1:
        raise UserError(f"{key}={source}: the tokenizer's vocabulary is empty (its files are missing)")
    return tokenizer


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _unreachable(key: str, source: str, error: Exception) -> UserError:
    return UserError(f"{key}={source}: no such local path, and not to be had from the hub: {one_line(error)[:200]}")
