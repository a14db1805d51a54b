"""From the bytes of a prompt file to its prompts, and which of them are left out.

Prompt files come as people made them: with a byte-order mark, empty rows, commas that nobody quoted, quotes that nobody
closed. No prompt is lost to such a fault, and none is cut.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from npnet.data.json_lines import split_lines

COLUMNS = ("prompt", "prompts", "caption", "text")
"""Names under which a table's or a record's prompt is found, in any case."""
SUFFIXES = (".txt", ".csv", ".json", ".jsonl")

EMPTY, DUPLICATE, NOT_UTF8, NUL = "empty", "duplicate", "not UTF-8", "holds a NUL"
MAX_TOKENS = 77
"""What CLIP's text encoders read, start and end included."""


def parse(data: bytes, suffix: str, columns: Iterable[str] = COLUMNS) -> list[str]:
    """Return the texts of a file, in order, empty and broken ones included.

    Args:
        data: the file's bytes. Bytes that are not UTF-8 become lone surrogates, which ``clean`` finds.
        suffix: one of ``SUFFIXES``.
        columns: names of the prompt's column, in order of preference.

    Raises:
        ValueError: the file is not of its kind, or has no such column.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("is UTF-16; save it as UTF-8")
    text = data.decode("utf-8-sig", errors="surrogateescape")
    if suffix == ".csv":
        return _csv(text, tuple(columns))
    if suffix == ".json":
        return _texts(_loads(text, ""), tuple(columns))
    if suffix == ".jsonl":
        numbered = enumerate(split_lines(text), start=1)
        records = [_loads(line, f"line {number} ") for number, line in numbered if line.strip()]
        return [prompt for record in records for prompt in _texts(record, tuple(columns))]
    return split_lines(text)


def clean(texts: Iterable[str], left_out: Counter[str]) -> list[str]:
    """Strip white space and leave out what cannot be a prompt; ``left_out`` counts why.

    A text is left out when it is empty, holds bytes that are not UTF-8, holds a NUL, or is the same as one before it:
    its seeds are drawn from its text, so it would give the same pairs again.
    """
    prompts: dict[str, None] = {}
    for text in texts:
        prompt = text.strip()
        if not prompt:
            left_out[EMPTY] += 1
        elif any("\ud800" <= character <= "\udfff" for character in prompt):
            left_out[NOT_UTF8] += 1
        elif "\0" in prompt:
            left_out[NUL] += 1
        elif prompt in prompts:
            left_out[DUPLICATE] += 1
        else:
            prompts[prompt] = None
    return list(prompts)


def count_long(prompts: Iterable[str]) -> int:
    """Return how many prompts have more than ``MAX_TOKENS`` of CLIP's tokens; text encoders read the first ones alone.

    The vocabulary is the one that Stable Diffusion, SDXL, HPSv2 and PickScore share; it comes with ``open_clip``.
    """
    # a token is at least a byte, so short texts need no tokenizer, whose import takes seconds
    long = [prompt for prompt in prompts if len(prompt.encode()) > MAX_TOKENS - 2]
    if not long:
        return 0
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    return sum(len(tokenizer.encode(prompt)) > MAX_TOKENS - 2 for prompt in long)


def _csv(text: str, columns: tuple[str, ...]) -> list[str]:
    header, *lines = split_lines(text) or [""]
    names = [name.strip().strip('"').lower() for name in header.split(",")]
    column = next((names.index(name.lower()) for name in columns if name.lower() in names), None)
    if column is None:
        raise ValueError(f"has no column named {' or '.join(columns)} (got: {', '.join(names)})")
    rows = _quoted_rows("\n".join(lines), len(names), column)
    if rows is None:
        return [_unquoted(line, column) for line in lines]
    return [row[column] if len(row) > column else "" for row in rows]


def _quoted_rows(body: str, width: int, column: int) -> list[list[str]] | None:
    """Read a table as CSV; None where it was plainly written without quoting."""
    try:
        rows = [row for row in csv.reader(io.StringIO(body), strict=True) if row]
    except csv.Error:  # a quote that is never closed
        return None
    if any(len(row) > width for row in rows):
        return None
    # rows that end early are the habit of hand-made files; but are their commas columns, or part of the prompt?
    quotes = any(len(row) > column and "," in row[column] for row in rows)
    return rows if quotes or all(len(row) == width for row in rows) else None


def _unquoted(line: str, column: int) -> str:
    """Return all that follows the columns before the prompt, and what of it is not empty columns."""
    text = line.split(",", column)[-1].strip().rstrip(",").rstrip()
    if text.startswith('"') and text.count('"') % 2:  # a quote that nobody closed
        return text[1:]
    whole = len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]
    return text[1:-1] if whole else text


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{where}is not JSON: {error}") from error


def _texts(value: Any, columns: tuple[str, ...]) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item, columns)]
    if isinstance(value, dict):
        lowered = {str(name).lower(): item for name, item in value.items()}
        for name in columns:
            if name.lower() in lowered:
                return _texts(lowered[name.lower()], columns)
        if value and all(isinstance(item, (list, dict)) for item in value.values()):
            return [text for item in value.values() for text in _texts(item, columns)]
    raise ValueError(f"an entry is neither a text nor a record with one of {', '.join(columns)}")
