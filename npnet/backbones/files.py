"""Checks of the files of a diffusers pipeline before anything is loaded.

Nothing here imports torch. What is not specific to pipelines is in ``npnet.weights``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub

from npnet.errors import FieldError
from npnet.weights.files import exists, has_vocabulary, local_path, missing_weights, read_json
from npnet.weights.sources import cached_file, check_cached, check_local, is_local, split_hub_path

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of published pipelines that we never load."""
INDEX = "model_index.json"
Needed = Mapping[str, str | None]
"""The parts that a family cannot do without, each with its class where only one will do."""


def check_pipeline(
    field: str, source: str, revision: str | None = None, needed: Needed | None = None, replaced: Collection[str] = ()
) -> None:
    """Refuse a pipeline that cannot be loaded: an incomplete directory, or a hub id without hub and cache.

    Args:
        field: for the error line.
        source: a directory or a hub id.
        revision: of the hub repository.
        needed: see ``Needed``.
        replaced: parts that come from another place and may be missing here.

    Raises:
        FieldError: says what is missing.
    """
    if is_local(source) or source.count("/") != 1:
        _check_folder(field, local_path(source), needed, replaced)
        return
    check_cached(source, [INDEX], field, revision)
    index = cached_file(source, INDEX, revision)
    if index:
        read_index(field, source, index, needed)


def check_part(field: str, source: str | None, classes: Sequence[str]) -> None:
    """Refuse a part (a VAE, a denoiser) that cannot be loaded.

    Args:
        field: for the error line.
        source: a directory, a ``.safetensors`` file, or either on the hub; None needs no check.
        classes: the classes of diffusers that are allowed.

    Raises:
        FieldError: says what is wrong with it.
    """
    if not source:
        return
    if is_local(source):
        check_local(source, field)
        if local_path(source).is_dir():
            part_class(field, source, local_path(source) / "config.json", classes)
        return
    repo, subfolder, file = split_hub_path(source)
    wanted = "/".join(filter(None, (subfolder, file or "config.json")))
    check_cached(repo, [wanted], field)
    found = None if file else cached_file(repo, wanted)
    if found:
        part_class(field, source, found, classes)


def check_lora(field: str, source: str | None) -> None:
    """Refuse a LoRA that cannot be loaded.

    Raises:
        FieldError: says what is wrong with it.
    """
    if not source:
        return
    if is_local(source):
        check_local(source, field)
        return
    repo, subfolder, file = split_hub_path(source)
    if file:
        check_cached(repo, ["/".join(filter(None, (subfolder, file)))], field)
    elif huggingface_hub.is_offline_mode():  # only the hub can say which files there are
        raise FieldError(
            field,
            source,
            f"HF_HUB_OFFLINE is set, so the hub cannot be searched; name the file: {source}/FILE.safetensors",
        )


def part_class(field: str, source: str, config_file: Path, classes: Sequence[str]) -> str:
    """Return the diffusers class of a part, the first of ``classes`` where its configuration names none.

    Raises:
        FieldError: there is no configuration, or it names a class that is not among ``classes``.
    """
    if not config_file.is_file():
        raise FieldError(field, source, "no diffusers model there (config.json is missing)")
    named = read_json(config_file, field, source).get("_class_name", classes[0])
    if named not in classes:
        raise FieldError(field, source, f"its class is {named}; allowed: {', '.join(classes)}")
    return str(named)


def read_index(field: str, source: object, index: Path, needed: Needed | None = None) -> dict[str, Any]:
    """Return the parts that a ``model_index.json`` names, by name: (library, class).

    Raises:
        FieldError: the file is damaged, or the pipeline is of another family (a needed part is not there, or another).
    """
    parts = {name: described for name, described in _named(index, field, source).items() if described[0]}
    for name, class_name in (needed or {}).items():
        if name not in parts:
            raise FieldError(field, source, f"a pipeline of another family (it has no {name})")
        if class_name not in (None, parts[name][1]):
            found = parts[name][1]
            raise FieldError(field, source, f"a pipeline of another family (its {name} is {found}, not {class_name})")
    for half, other in (("text_encoder", "tokenizer"), ("tokenizer", "text_encoder")):
        for name in parts:
            wanted = name.replace(half, other)
            if name.startswith(half) and wanted not in parts:
                raise FieldError(field, source, f"its {name} lacks a {wanted}; both or none are needed")
    return parts


def null_parts(field: str, source: object, index: Path, optional: Collection[str] = ()) -> list[str]:
    """Return the parts that a ``model_index.json`` marks as none, ``[null, null]``, as for an SD 3 saved without T5.

    Args:
        field: for the error line.
        source: of the pipeline.
        index: the file.
        optional: parts that also count as none where the file does not name them.

    Raises:
        FieldError: the file is damaged.
    """
    named = _named(index, field, source)
    return [name for name in dict.fromkeys([*named, *optional]) if not named.get(name, [None])[0]]


def small_file(source: str, name: str, field: str, revision: str | None = None) -> dict[str, Any] | None:
    """Return a JSON file of a pipeline, or None where it is not on this machine.

    Args:
        source: a directory or a hub id.
        name: of the file in it, ``scheduler/scheduler_config.json``.
        field: for the error line.
        revision: of the hub repository.

    Raises:
        FieldError: the file is damaged.
    """
    file = local_path(source) / name if is_local(source) else cached_file(source, name, revision)
    return read_json(file, field, source) if file and file.is_file() else None


def _named(index: Path, field: str, source: object) -> dict[str, Any]:
    described = read_json(index, field, source)
    for name, value in described.items():
        if name.startswith(("text_encoder", "tokenizer")) and not (isinstance(value, list) and len(value) == 2):
            raise FieldError(field, source, f"{INDEX}: {name}={value!r}; a list of two is needed: [null, null] is none")
    return {n: v for n, v in described.items() if not n.startswith("_") and isinstance(v, list) and len(v) == 2}


def _check_folder(field: str, folder: Path, needed: Needed | None, replaced: Collection[str]) -> None:
    index = folder / INDEX
    if not exists(index):
        raise FieldError(field, folder, f"no diffusers pipeline there ({INDEX} is missing)")
    parts = read_index(field, folder, index, needed)
    for name in parts:
        missing = None if name in UNUSED or name in replaced else _missing_file(folder / name, name)
        if missing:
            raise FieldError(field, folder, f"the pipeline is incomplete ({name}/{missing})")


def _missing_file(part: Path, name: str) -> str | None:
    """Return what a component's folder lacks, in words, or None."""
    if not part.is_dir():
        return " is missing"
    if name.startswith("scheduler"):
        return None if (part / "scheduler_config.json").is_file() else "scheduler_config.json is missing"
    if name.startswith("tokenizer"):
        return None if has_vocabulary(part) else "its vocabulary is missing"
    return missing_weights(part) if (part / "config.json").is_file() else "config.json is missing"
