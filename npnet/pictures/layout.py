"""Pictures that someone else made, each with its prompt: what ``images=...`` names.

- ``images=FILE.jsonl``, or a folder with ``metadata.jsonl``: one record a line with the picture's path (``image``,
  ``path``, ``filename`` or ``file_name``, relative to the file) and its prompt (``prompt``, ``caption`` or ``text``);
- a folder in GenEval's layout: ``00000/metadata.jsonl`` with the prompt, ``00000/samples/0000.png`` and so on;
- any other folder of picture files, with prompts from ``prompts=file prompts.path=FILE``. Files whose names begin with
  a number (``12.png``, ``0000012-0000000345.webp``, ``12_3.png``) belong to the prompt of that number, counted from 0,
  or from 1 where the numbers run from 1 to the number of prompts; otherwise there is one file for each prompt, in the
  natural order of their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npnet.data.json_lines import read_json_lines
from npnet.data.sidecars import file_sha256
from npnet.errors import UserError, one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
PATH_KEYS = ("image", "path", "filename", "file_name")
PROMPT_KEYS = ("prompt", "caption", "text")


@dataclass(frozen=True)
class Picture:
    """A file with its prompt; ``tag`` is GenEval's task. ``digest`` is the SHA-256 of the file's content."""

    path: Path
    prompt: str
    tag: str | None
    digest: str
    size: tuple[int, int]


def find_pictures(source: Path, read_prompts: Callable[[], Sequence[str]]) -> list[Picture]:
    """Return every picture that ``source`` names, in order.

    Args:
        source: file or folder; see the module's docstring.
        read_prompts: called where the layout holds no prompts.

    Raises:
        UserError: nothing there, a file is no picture, or pictures and prompts do not match.
    """
    if source.is_file() and source.suffix.lower() == ".jsonl":
        found = list(_listed(source))
    elif not source.is_dir():
        raise UserError(f"images={source}: no such folder, and no .jsonl file")
    elif (source / "metadata.jsonl").is_file():
        found = list(_listed(source / "metadata.jsonl"))
    elif folders := sorted(path.parent for path in source.glob("*/metadata.jsonl")):
        found = [item for folder in folders for item in _geneval(folder)]
    else:
        files = sorted((path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES), key=_natural)
        if not files:
            raise UserError(f"images={source}: holds no picture ({', '.join(SUFFIXES)})")
        found = [(path, prompt, None) for path, prompt in _matched(source, files, read_prompts())]
    if not found:
        raise UserError(f"images={source}: names no picture")
    return [Picture(path, prompt, tag, *_identify(path)) for path, prompt, tag in found]


def _listed(file: Path) -> Iterator[tuple[Path, str, str | None]]:
    for number, record in _records(file):
        path = next((record[key] for key in PATH_KEYS if key in record), None)
        prompt = next((record[key] for key in PROMPT_KEYS if key in record), None)
        if not isinstance(path, str) or not isinstance(prompt, str):
            raise UserError(
                f"images={file}: line {number} needs a picture ({', '.join(PATH_KEYS)}) and a prompt "
                f"({', '.join(PROMPT_KEYS)})"
            )
        tag = record.get("tag")
        yield file.parent / path, prompt, None if tag is None else str(tag)


def _geneval(folder: Path) -> Iterator[tuple[Path, str, str | None]]:
    record = next((record for _, record in _records(folder / "metadata.jsonl")), {})
    if not isinstance(record.get("prompt"), str):
        raise UserError(f"images={folder}: metadata.jsonl names no prompt")
    samples = sorted(p for p in (folder / "samples").glob("*") if p.suffix.lower() in SUFFIXES)
    tag = record.get("tag")
    yield from ((path, record["prompt"], None if tag is None else str(tag)) for path in samples)


def _records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, record in read_json_lines(file, f"images={file}"):
        if not isinstance(record, dict):
            raise UserError(f"images={file}: line {number} is no record")
        yield number, record


def _matched(source: Path, files: Sequence[Path], prompts: Sequence[str]) -> Iterator[tuple[Path, str]]:
    numbers = [_leading_number(path) for path in files]
    known = [number for number in numbers if number is not None]
    if len(known) == len(files):
        first = 1 if set(known) == set(range(1, len(prompts) + 1)) else 0
        wrong = next((path for path, n in zip(files, known, strict=True) if n - first >= len(prompts)), None)
        if wrong is None:
            yield from ((path, prompts[n - first]) for path, n in zip(files, known, strict=True))
            return
    elif len(files) == len(prompts):
        yield from zip(files, prompts, strict=True)
        return
    raise UserError(
        f"images={source}: {len(files)} pictures do not match {len(prompts)} prompts; give their prompts with "
        "prompts=file prompts.path=FILE, one for each picture in the order of the names, or name the files NUMBER.png "
        "or NUMBER-ANYTHING.png by their prompt's number from 0"
    )


def _leading_number(path: Path) -> int | None:
    match = re.match(r"(\d+)(?:[-_].*)?$", path.stem)
    return int(match[1]) if match else None


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Order ``2.png`` before ``10.png``."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def _identify(path: Path) -> tuple[str, tuple[int, int]]:
    from PIL import Image

    try:
        digest = file_sha256(path)
        with Image.open(path) as picture:  # reads the header only
            return digest, picture.size
    except FileNotFoundError as error:
        raise UserError(f"images: {path}: no such file") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"images: {path}: cannot be read as a picture: {one_line(error)}") from error
