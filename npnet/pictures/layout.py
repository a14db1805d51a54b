"""Pictures from elsewhere, each with its prompt, as named by ``images=...``.

- ``images=FILE.jsonl``, or a folder with ``metadata.jsonl``: one record a line with the picture's path (``image``,
  ``path``, ``filename`` or ``file_name``, relative to the file) and its prompt (``prompt``, ``caption`` or ``text``);
- a folder in GenEval's layout: ``00000/metadata.jsonl`` with the prompt, ``00000/samples/0000.png`` and so on;
- any other folder of picture files, with prompts from ``prompts=file prompts.path=FILE``, by their names: see
  ``matching``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npnet.data.json_lines import read_json_lines
from npnet.errors import UserError
from npnet.pictures.matching import match
from npnet.pictures.opener import SUFFIXES, content_digest, is_hidden, picture_files, read_header

PATH_KEYS = ("image", "path", "filename", "file_name")
PROMPT_KEYS = ("prompt", "caption", "text")
Found = tuple[Path, str | None, str | None]
"""File, prompt, GenEval's task."""


@dataclass(frozen=True)
class Picture:
    """A file with its prompt.

    Attributes:
        path: of the file.
        prompt: what it was made for.
        tag: GenEval's task.
        digest: SHA-256 of the file's content.
        size: width and height as stored.
        is_rotated: EXIF asks for a rotation, which scoring does not apply; see ``opener``.
    """

    path: Path
    prompt: str
    tag: str | None
    digest: str
    size: tuple[int, int]
    is_rotated: bool = False


def find_pictures(source: Path, read_rows: Callable[[], Sequence[str]]) -> list[Picture]:
    """Return every picture that ``source`` names, in order.

    Args:
        source: file or folder; see the module's docstring.
        read_rows: called where the layout holds no prompts: the texts of the prompt set by their rows **as published**,
            repeated and empty ones included.

    Raises:
        UserError: nothing there, a file is no picture, or pictures and prompts do not match.
    """
    found = _found(source, "images")
    if not found:
        raise UserError(f"images={source}: holds no picture ({', '.join(SUFFIXES)})")
    if any(prompt is None for _, prompt, _ in found):
        found = [(path, prompt, None) for path, prompt in match(source, [path for path, _, _ in found], read_rows())]
    return [_described(path, prompt or "", tag) for path, prompt, tag in found]


def find_files(source: Path, key: str) -> list[Path]:
    """Return the files of the pictures that ``find_pictures`` would return, for what needs no prompts.

    Args:
        source: see ``find_pictures``.
        key: names the source in an error line.

    Raises:
        UserError: nothing there.
    """
    return [path for path, _, _ in _found(source, key)]


def _found(source: Path, key: str) -> list[Found]:
    """Return every picture that ``source`` names; prompts are None where the layout holds none."""
    if source.is_file() and source.suffix.lower() == ".jsonl":
        return list(_listed(source, key))
    if not source.is_dir():
        raise UserError(f"{key}={source}: no such folder, and no .jsonl file")
    if (source / "metadata.jsonl").is_file():
        return list(_listed(source / "metadata.jsonl", key))
    if folders := sorted(p.parent for p in source.glob("*/metadata.jsonl") if not is_hidden(p, source)):
        return [item for folder in folders for item in _geneval(folder, key)]
    return [(path, None, None) for path in picture_files(source)]


def _described(path: Path, prompt: str, tag: str | None) -> Picture:
    where = f"images: {path}"
    header = read_header(path, where)
    return Picture(path, prompt, tag, content_digest(path, where), header.size, header.is_rotated)


def _listed(file: Path, key: str) -> Iterator[Found]:
    for number, record in _records(file, key):
        path = next((record[name] for name in PATH_KEYS if name in record), None)
        prompt = next((record[name] for name in PROMPT_KEYS if name in record), None)
        if not isinstance(path, str) or not isinstance(prompt, str):
            paths, prompts = ", ".join(PATH_KEYS), ", ".join(PROMPT_KEYS)
            raise UserError(f"{key}={file}: line {number} needs a picture ({paths}) and a prompt ({prompts})")
        yield file.parent / path, prompt, _tag(record)


def _geneval(folder: Path, key: str) -> Iterator[Found]:
    record = next((record for _, record in _records(folder / "metadata.jsonl", key)), {})
    if not isinstance(record.get("prompt"), str):
        raise UserError(f"{key}={folder}: metadata.jsonl names no prompt")
    samples = folder / "samples"
    yield from ((path, record["prompt"], _tag(record)) for path in picture_files(samples) if path.parent == samples)


def _tag(record: dict[str, Any]) -> str | None:
    tag = record.get("tag")
    return None if tag is None else str(tag)


def _records(file: Path, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, record in read_json_lines(file, f"{key}={file}"):
        if not isinstance(record, dict):
            raise UserError(f"{key}={file}: line {number} is no record")
        yield number, record
