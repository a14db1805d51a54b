"""Text for readers: strangers' text is made harmless here; counts and decimals are formatted.

Names of files, members of a tar, labels of metrics, prompts and the words of a lock come from other people, and may
hold what a terminal obeys (escape sequences), what hides or turns letters round, or what a page reads as markup.
Nothing of the kind is shown as it is: ``errors.one_line`` makes every error line ``visible``, the report and the cards
do so with what they were given, and ``markdown`` also takes a page's markup its meaning.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable

HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Unicode categories that are written as escapes: controls, invisible formatting, surrogates, private use."""
JOINERS = "\u200b\u200c\u200d"
"""Of the invisible ones, those that scripts, emoji and the breaks of a line need."""

MEANING = re.compile(r"[\\`*|$]|<(?=[A-Za-z/!?])|\](?=[(\[:])")
"""What Markdown reads as more than a letter."""


def visible(text: object, keep: str = "") -> str:
    """Write characters that a terminal obeys, or that nobody sees, as escapes of their code points.

    Args:
        text: anything; it is turned into a text first.
        keep: characters that stay as they are, such as the line end.
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character in JOINERS + keep else _shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN:
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def markdown(text: object) -> str:
    """Return a text as one line of Markdown that only shows it: without markup, HTML, links or the end of a cell.

    Only what would have a meaning is escaped, so that names and intervals stay readable in the raw file too.
    """
    return MEANING.sub(lambda found: f"\\{found[0]}", visible(" ".join(str(text).split())))


def code(text: object) -> str:
    """Return a text as Markdown's code, whatever backticks it holds."""
    line = visible(" ".join(str(text).split()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def count(value: int, noun: str) -> str:
    """Write ``1,152 pairs``, ``1 prompt``."""
    return f"{value:,} {noun}" + ("" if value == 1 else "s")


def decimals(widths: Iterable[float]) -> int:
    """Return the decimals that show the uncertainty of numbers with two digits, from their intervals' widths."""
    known = sorted(width for width in widths if width > 0)
    return min(max(1 - math.floor(math.log10(known[len(known) // 2] / 2)), 1), 5) if known else 2


def size_text(num_bytes: float) -> str:
    """Return a size in the unit a person reads."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"
