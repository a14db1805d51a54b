"""Tables of prompts, read row by row, so that a bad row does not affect the others.

A row with correct CSV quotes is read as CSV, with line breaks and doubled quotes. In a row without quotes, a comma may
separate columns or belong to an unquoted prompt (as in HPD's published file). If a row itself does not decide this, the
majority of the table's rows does: a row that is too long or ends early was written without quoting; a row that fills
the columns, or quotes a prompt with a comma, was written as CSV. A row that still cannot be read is refused, with its
line number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from npnet.data.json_lines import split_lines

MOST_LINES = 1000
"""That a quoted field may have. A quote that is closed later is taken as a plain character."""

QUOTED = re.compile(r'"((?:[^"]|"")*+)"')
ESCAPED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)


@dataclass(frozen=True)
class Row:
    """A row as CSV reads it.

    Attributes:
        line: its number in the file, from 1.
        text: the whole row.
        fields: its values, empty ones at its end left out.
        quoted: which of them stood in quotes.
        is_broken: a field begins with a quote, and is no quoted one.
    """

    line: int
    text: str
    fields: tuple[str, ...]
    quoted: tuple[bool, ...]
    is_broken: bool


@dataclass(frozen=True)
class Column:
    """Where the wanted column is: its number, and how many there are; ``delimiter`` stands between."""

    index: int
    width: int
    delimiter: str


def read_column(
    text: str, names: Sequence[str], delimiter: str, others: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    """Return a column of a table, row by row, and beside it the value of another column.

    Args:
        text: of the table; its first line names the columns.
        names: of the column, the first that is there, in any case.
        delimiter: comma or tab.
        others: names of the column whose value is given beside; "" where there is none.

    Raises:
        ValueError: there is no such column, or a row cannot be read; names its line.
    """
    lines = split_lines(text) or [""]
    header = [name.strip().strip('"').lower() for name in lines[0].split(delimiter)]
    index = _find(header, names)
    if index is None:
        raise ValueError(f"has no column named {' or '.join(names)} (got: {', '.join(header)})")
    other = _find(header, others)
    column = Column(index, len(header), delimiter)
    rows = list(_rows(lines, column))
    is_prose = delimiter == "," and sum(_vote(row, column) for row in rows) < 0
    for row in rows:
        whole = is_prose or (delimiter == "," and index == len(header) - 1)
        value = _whole(row, column) if whole and _is_unquoted(row, column) else _value(row, column)
        yield value, row.fields[other] if other is not None and other < len(row.fields) else ""


def _find(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name.lower()) for name in names if name.lower() in header), None)


def _rows(lines: Sequence[str], column: Column) -> Iterator[Row]:
    number = 1
    while number < len(lines):
        row, used = _row(lines, number, column)
        number += used
        if row.text.strip():
            yield row


def _row(lines: Sequence[str], start: int, column: Column) -> tuple[Row, int]:
    """Return the row that begins with a line, and how many lines it has."""
    fields, quoted, is_broken = _fields(lines[start], column.delimiter)
    if is_broken and lines[start].count('"') % 2:  # a quote is open; does a later line close it?
        text = lines[start]
        for used in range(2, min(MOST_LINES, len(lines) - start) + 1):
            text = f"{text}\n{lines[start + used - 1]}"
            if '"' not in lines[start + used - 1]:
                continue
            more, more_quoted, still_broken = _fields(text, column.delimiter)
            if not still_broken and len(more) <= column.width and "\n" not in _outside(more, more_quoted):
                return Row(start + 1, text, more, more_quoted, False), used
            if text.count('"') % 2 == 0:
                break
    return Row(start + 1, lines[start], fields, quoted, is_broken), 1


def _outside(fields: Sequence[str], quoted: Sequence[bool]) -> str:
    return "".join(field for field, is_quoted in zip(fields, quoted, strict=True) if not is_quoted)


def _fields(text: str, delimiter: str) -> tuple[tuple[str, ...], tuple[bool, ...], bool]:
    """Split a row; a field that begins with a quote and is not closed before a delimiter is taken as it is."""
    fields: list[str] = []
    quoted: list[bool] = []
    position, is_broken = 0, False
    while position <= len(text):
        value, end, is_quoted = _field(text, position, delimiter)
        is_broken |= not is_quoted and value.startswith('"')
        fields.append(value)
        quoted.append(is_quoted)
        position = end + 1
    while len(fields) > 1 and not fields[-1].strip() and not quoted[-1]:
        fields.pop()
        quoted.pop()
    return tuple(fields), tuple(quoted), is_broken


def _field(text: str, start: int, delimiter: str) -> tuple[str, int, bool]:
    if text.startswith('"', start):
        for pattern, escaped, plain in ((QUOTED, '""', '"'), (ESCAPED, '\\"', '"')):
            match = pattern.match(text, start)
            if match and (match.end() == len(text) or text[match.end()] == delimiter):
                return match[1].replace(escaped, plain), match.end(), True
    end = text.find(delimiter, start)
    end = len(text) if end < 0 else end
    return text[start:end], end, False


def _vote(row: Row, column: Column) -> int:
    """Return 1 for a row that was plainly written as CSV, -1 for one without quoting, 0 where it does not say."""
    index, fields = column.index, row.fields
    if row.is_broken or len(fields) <= index:
        return 0
    if row.quoted[index]:
        return 1 if "," in fields[index] or len(fields) == column.width else 0
    if any(row.quoted):
        return 1 if len(fields) <= column.width else 0
    if len(fields) != column.width and row.text.count(",") != column.width - 1:
        return -1
    return 0 if _is_prose(row, column) else 1


def _is_prose(row: Row, column: Column) -> bool:
    """Say whether a space follows each comma behind the column's beginning, as in a sentence."""
    behind = row.fields[column.index + 1 :]
    return bool(behind) and all(field.startswith(" ") for field in behind)


def _is_unquoted(row: Row, column: Column) -> bool:
    """Say whether all that follows the columns before the prompt is the prompt, in a table without quoting."""
    if len(row.fields) > column.width:
        return True
    if len(row.fields) <= column.index or row.quoted[column.index]:
        return False
    return row.is_broken or all(field.startswith(" ") for field in row.fields[column.index + 1 :])


def _whole(row: Row, column: Column) -> str:
    text = row.text.split(column.delimiter, column.index)[-1].strip().rstrip(",").rstrip()
    return _without_open_quote(text)


def _value(row: Row, column: Column) -> str:
    if len(row.fields) > column.width:
        mark, width = "comma" if column.delimiter == "," else "tab", column.width
        more = f"line {row.line} has {len(row.fields)} columns, but the header has {width}"
        raise ValueError(f"{more}: a prompt that holds a {mark} must stand in quotes")
    if len(row.fields) <= column.index:
        return ""
    value = row.fields[column.index]
    return value if row.quoted[column.index] else _without_open_quote(value.strip())


def _without_open_quote(text: str) -> str:
    return text[1:] if text.startswith('"') and text.count('"') % 2 else text
