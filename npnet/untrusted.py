"""The only reader of JSON, with limits on size, depth, numbers and characters, because a file may come from a stranger.

Files that the project itself wrote are read in the same way: a folder can be copied from anywhere.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from npnet.errors import UserError, one_line, reworded

MOST_BYTES = 1 << 28
"""Of a text of JSON; a sidecar of 100,000 tried pairs has 40 MB."""
MOST_DEPTH = 100
LARGEST_INT = 2**64


def parse_json(text: bytes | str, *, surrogates: bool = False, nan: bool = False) -> Any:
    """Return the value of a text of JSON.

    Args:
        text: of one value; bytes must be UTF-8, a byte-order mark is passed over.
        surrogates: let through texts that hold half a surrogate pair, which no file or terminal can be given.
        nan: let through ``NaN`` and ``Infinity``, which Python writes and JSON does not have.

    Raises:
        ValueError: it is not JSON, too large or too deep, holds NaN, infinity, a number that no field could have, or
            half a surrogate pair. The message is one line.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"has {len(text)} bytes; at most {MOST_BYTES} are read")
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        value = json.loads(text, parse_constant=float if nan else _refuse, parse_int=_whole, parse_float=_finite)
    except RecursionError as error:
        raise ValueError(f"is nested more than {MOST_DEPTH} levels deep") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {one_line(error)}") from error
    _check(value, surrogates)
    return value


def read_json(path: Path) -> Any:
    """Return the value of a file of JSON.

    Raises:
        UserError: it cannot be read; see ``parse_json``.
    """
    with reworded(ValueError, UserError, f"{path}: "), reworded(OSError, UserError, f"{path}: cannot be read: "):
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"has {path.stat().st_size} bytes; at most {MOST_BYTES} are read")
        return parse_json(path.read_bytes())


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"holds {word}, which is not a number")


def _whole(digits: str) -> int:
    if len(digits) > 21 or abs(int(digits)) > LARGEST_INT:
        raise ValueError(f"holds a whole number of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"holds the number {digits[:40]}, which is too large")
    return value


def _check(value: Any, surrogates: bool) -> None:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        if not level:
            return
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
                _check_texts(item, surrogates)
            elif isinstance(item, list):
                inner += item
            elif isinstance(item, str):
                _check_texts((item,), surrogates)
        level = inner
    raise ValueError(f"is nested more than {MOST_DEPTH} levels deep")


def _check_texts(texts: Any, surrogates: bool) -> None:
    if surrogates:
        return
    for text in texts:
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("holds half a surrogate pair")
