"""Sources of weights: local paths and hub ids, with one check before loading and one way to get a file.

A source is a path on this machine, or ``owner/name`` of the hub; some fields take ``owner/name/folder/FILE`` too. A
path that exists on this machine is local, whatever its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub

from npnet.errors import FieldError, one_line
from npnet.weights.files import WEIGHT_SUFFIXES, damaged, exists, local_path, read_json

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def is_local(source: str) -> bool:
    """Say whether ``source`` means a path on this machine; else it means the hub."""
    path = local_path(source)
    if exists(path) or path.is_absolute() or source.startswith((".", "~")) or "/" not in source:
        return True
    return source.count("/") == 1 and source.endswith(WEIGHT_SUFFIXES)


def is_hub_id(source: str) -> bool:
    """Say whether ``source`` means a repository of the hub, ``owner/name``."""
    return not is_local(source) and _ID.fullmatch(source) is not None


def split_hub_path(source: str) -> tuple[str, str | None, str | None]:
    """Split ``owner/name/folder/FILE`` into the repository, its folder, and its file of weights."""
    words = source.split("/")
    file = words.pop() if words[-1].endswith(WEIGHT_SUFFIXES) else None
    return "/".join(words[:2]), "/".join(words[2:]) or None, file


def check_source(
    source: str | None, field: str, files: Sequence[str] = (), hint: str = "", revision: str | None = None
) -> None:
    """Refuse a source that cannot be loaded, as far as this is known without a download.

    Args:
        source: a local path or ``owner/name``.
        field: for the error line.
        files: names of which a hub repository must have one; where the hub is switched off, in the local cache.
        hint: added to the error line.
        revision: of the hub repository.

    Raises:
        FieldError: nothing is there, a safetensors file is damaged, or the hub is switched off and nothing is cached.
    """
    if not source:
        raise FieldError(field, source, f"a local path or a hub id is needed{hint}")
    if not is_hub_id(source):
        check_local(source, field, hint)
    elif files:
        check_cached(source, files, field, revision)


def check_local(source: str, field: str, hint: str = "") -> None:
    """Refuse a path that is not there, or whose safetensors files are damaged.

    Raises:
        FieldError: names the path and the file.
    """
    path = local_path(source)
    if not exists(path):
        raise FieldError(field, source, f"no such file or folder{hint}")
    wrong = damaged(sorted(path.glob("*.safetensors")) if path.is_dir() else [path])
    if wrong:
        raise FieldError(field, source, wrong)


def check_cached(repo: str, files: Sequence[str], field: str, revision: str | None = None) -> None:
    """Refuse a hub repository that is not on this machine when the hub is switched off.

    Raises:
        FieldError: HF_HUB_OFFLINE is set and none of ``files`` is in the cache.
    """
    if huggingface_hub.is_offline_mode() and not any(cached_file(repo, file, revision) for file in files):
        raise FieldError(field, repo, "not in the local hub cache, and HF_HUB_OFFLINE is set")


def cached_file(repo: str, file: str, revision: str | None = None) -> Path | None:
    """Return the path of a hub file in the local cache, or None."""
    found = huggingface_hub.try_to_load_from_cache(repo, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def find(source: str, names: Sequence[str], field: str, revision: str | None = None) -> Path | None:
    """Return the first of ``names`` in a local folder or a hub repository; None where it has none of them.

    A path of a file is returned as it is. A hub file is downloaded where the cache does not have it.

    Raises:
        FieldError: there is no such path, or the hub cannot be reached or has no such repository.
    """
    folder = local_path(source)
    if folder.is_file():
        return folder
    if folder.is_dir():
        return next((folder / name for name in names if (folder / name).is_file()), None)
    check_source(source, field)
    if huggingface_hub.is_offline_mode():  # which names the repository lacks is not known then
        names = [name for name in names if cached_file(source, name, revision)] or names
    for name in names:
        with from_hub(source, field):
            try:
                return Path(huggingface_hub.hf_hub_download(source, name, revision=revision))
            except Exception as error:
                if not _has_no_such_file(error):
                    raise
    return None


def fetch(source: str, names: Sequence[str], field: str, revision: str | None = None) -> Path:
    """Return the file that ``find`` finds.

    Raises:
        FieldError: there is none of ``names``, or see ``find``.
    """
    path = find(source, names, field, revision)
    if path is None:
        raise FieldError(field, source, f"holds none of {', '.join(names)}")
    return path


def fetch_folder(source: str, patterns: Sequence[str], field: str, revision: str | None = None) -> Path:
    """Return a local folder, or one with the hub repository's files that match ``patterns``.

    Raises:
        FieldError: see ``find``.
    """
    folder = local_path(source)
    if folder.is_dir():
        return folder
    check_source(source, field)
    with from_hub(source, field):
        return Path(huggingface_hub.snapshot_download(source, allow_patterns=list(patterns), revision=revision))


def read_config(
    source: str, field: str, name: str = "config.json", revision: str | None = None
) -> dict[str, Any] | None:
    """Return a JSON file of a folder or a hub repository; None where there is none.

    Raises:
        FieldError: it is damaged, or see ``find``.
    """
    if local_path(source).is_file():
        return None
    path = find(source, [name], field, revision)
    return None if path is None else read_json(path, field, source)


@contextmanager
def from_hub(source: str, field: str) -> Iterator[None]:
    """Turn errors of the hub's client, which come from several libraries, into one line.

    Raises:
        FieldError: says what is wrong with the source.
    """
    try:
        yield
    except FieldError:
        raise
    except Exception as error:
        raise FieldError(
            field, source, hub_reason(error) or f"cannot be fetched from the hub: {_short(error)}"
        ) from error


def hub_reason(error: BaseException) -> str | None:
    """Return what an error of the hub's client means, in words; None where it is none of the usual ones."""
    errors = _hub_errors()
    if isinstance(error, errors.GatedRepoError):
        return "accept its licence on the hub and log in (hf auth login)"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "neither a folder here nor a repository on the hub"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "not in the local hub cache, and the hub cannot be reached; give a local folder"
    return None


def _has_no_such_file(error: BaseException) -> bool:
    errors = _hub_errors()
    # the second is a kind of the first: offline, and so not known
    return isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError)


def _hub_errors() -> Any:
    from huggingface_hub import errors  # brings an HTTP client, 0.1 s, which only a failed download needs

    return errors


def _short(error: BaseException) -> str:
    return one_line(error)[:200]
