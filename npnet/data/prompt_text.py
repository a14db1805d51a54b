"""Parse prompt files, and decide which texts are left out.

Real prompt files have byte-order marks, empty rows, unquoted commas and unclosed quotes. No prompt is lost or cut
because of such a fault.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from npnet.bounds import MAX_SEED, is_whole
from npnet.data.json_lines import split_lines
from npnet.data.tables import read_column
from npnet.description import imported
from npnet.errors import reworded
from npnet.untrusted import parse_json

COLUMNS = ("prompt", "prompts", "caption", "text")
"""Names under which a table's or a record's prompt is found, in any case."""
SEED = "seed"
"""Name under which a table's or a record's own seed is found."""
TEXT_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl")
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")

EMPTY, DUPLICATE, NOT_UTF8, NUL = "empty", "duplicate", "not UTF-8", "holds a NUL"
MAX_TOKENS = 77
"""What CLIP's text encoders read, start and end included."""


class Entry(NamedTuple):
    """A text of a prompt file, and the seed that stands beside it, where one does."""

    text: str
    seed: int | None = None


def parse(data: bytes, suffix: str) -> list[Entry]:
    """Return the entries of a file, in order, empty and broken ones included.

    Args:
        data: the file's bytes. Bytes that are not UTF-8 become lone surrogates, which ``fault`` finds.
        suffix: one of ``TEXT_SUFFIXES``.

    Raises:
        ValueError: the file is not of its kind, or has no such column.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("is UTF-16; save it as UTF-8")
    text = data.decode("utf-8-sig", errors="surrogateescape")
    if suffix in (".csv", ".tsv"):
        rows = read_column(text, COLUMNS, "," if suffix == ".csv" else "\t", (SEED,))
        return [Entry(value, _seed(seed)) for value, seed in rows]
    if suffix == ".jsonl":
        return list(_json_lines(text))
    if suffix == ".json":
        return list(_json(text))
    return [Entry(line) for line in split_lines(text)]


def fault(prompt: str) -> str | None:
    """Return why a stripped text cannot be a prompt; None where it can."""
    if not prompt:
        return EMPTY
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        return NOT_UTF8
    return NUL if "\0" in prompt else None


def clean(texts: Iterable[str], left_out: Counter[str]) -> list[str]:
    """Strip white space and leave out what cannot be a prompt; ``left_out`` counts why.

    A text is left out when it is empty, holds bytes that are not UTF-8, holds a NUL, or is the same as one before it:
    its seeds are drawn from its text, so it would give the same pairs again.
    """
    return list(with_seeds((Entry(text) for text in texts), left_out))


def with_seeds(entries: Iterable[Entry], left_out: Counter[str]) -> dict[str, tuple[int, ...]]:
    """Return the prompts in their order, each with its own seeds; see ``clean``.

    A text that is there again with another seed of its own gives its prompt a further seed.
    """
    prompts: dict[str, tuple[int, ...]] = {}
    for text, seed in entries:
        prompt = text.strip()
        reason = fault(prompt)
        if reason is None and prompt in prompts and (seed is None or seed in prompts[prompt]):
            reason = DUPLICATE
        if reason is not None:
            left_out[reason] += 1
            continue
        prompts[prompt] = (*prompts.get(prompt, ()), *(() if seed is None else (seed,)))
    return prompts


def count_long(prompts: Iterable[str]) -> int:
    """Return how many prompts have more than ``MAX_TOKENS`` of CLIP's tokens; text encoders read the first ones alone.

    The vocabulary is the one that Stable Diffusion, SDXL, HPSv2 and PickScore share; it comes with ``open_clip``.
    """
    # a token is at least a byte, so short texts need no tokenizer, whose import takes seconds
    long = [prompt for prompt in prompts if len(prompt.encode()) > MAX_TOKENS - 2]
    if not long:
        return 0
    tokenizer = imported("open_clip.tokenizer:SimpleTokenizer")()

    @cache
    def of_word(word: str) -> int:
        return len(tokenizer.encode(word))

    def number(prompt: str) -> int:
        # of plain text nothing is mended before it is cut into words, which repeat among prompts
        if prompt.isascii() and prompt.isprintable() and "&" not in prompt:
            return sum(map(of_word, tokenizer.pat.findall(prompt.lower())))
        return len(tokenizer.encode(prompt))

    return sum(number(prompt) > MAX_TOKENS - 2 for prompt in long)


def _json(text: str) -> Iterator[Entry]:
    try:
        value = parse_json(text, surrogates=True)
    except ValueError:
        # the official training data are JSON lines in a file named .json
        first = next((line for line in split_lines(text) if line.strip()), "")
        if not _is_json(first) or len(split_lines(text.strip())) == 1:
            raise
        yield from _json_lines(text)
        return
    if isinstance(value, Mapping):
        captions = value.get("annotations")
        if isinstance(captions, list):  # COCO
            value = captions
        elif value and _column(value) is None and all(item is None or isinstance(item, str) for item in value.values()):
            value = list(value.values())  # names or numbers, each with its text
    yield from _entries(value)


def _json_lines(text: str) -> Iterator[Entry]:
    for number, line in enumerate(split_lines(text), start=1):
        if line.strip():
            with reworded(ValueError, ValueError, f"line {number} "):
                yield from _entries(parse_json(line, surrogates=True))


def _is_json(line: str) -> bool:
    try:
        parse_json(line, surrogates=True)
    except ValueError:
        return False
    return True


def _entries(value: Any) -> Iterator[Entry]:
    if value is None:
        yield Entry("")
    elif isinstance(value, str):
        yield Entry(value)
    elif isinstance(value, list):
        for item in value:
            yield from _entries(item)
    elif isinstance(value, Mapping) and (name := _column(value)) is not None:
        seed = next((item for key, item in value.items() if str(key).lower() == SEED), None)
        texts = list(_entries(value[name]))
        seeds = seed if isinstance(seed, list) and len(seed) == len(texts) else [seed] * len(texts)
        for entry, seed in zip(texts, seeds, strict=True):  # two columns, or a record
            yield entry._replace(seed=_seed(seed)) if entry.seed is None else entry
    elif isinstance(value, Mapping) and value and all(isinstance(item, list | Mapping) for item in value.values()):
        for item in value.values():
            yield from _entries(item)
    else:
        raise ValueError(f"an entry is neither a text nor a record with one of {', '.join(COLUMNS)}")


def _column(record: Mapping[str, Any]) -> str | None:
    lowered = {str(name).lower(): name for name in record}
    return next((lowered[name] for name in COLUMNS if name in lowered), None)


def _seed(value: Any) -> int | None:
    """Return a seed as a record or a cell holds it, or 12.0, which a column with gaps makes of 12; else None."""
    if isinstance(value, str):
        text = value.strip().removesuffix(".0")
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if is_whole(value) and 0 <= value <= MAX_SEED else None
