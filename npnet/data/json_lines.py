"""JSON lines: one value a line; as people write them, with blank lines between them passed over, and as we do."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from npnet.errors import UserError, reworded
from npnet.untrusted import parse_json
from npnet.work.atomic import write_bytes

logger = logging.getLogger(__name__)


def split_lines(text: str) -> list[str]:
    """Return the lines of ``text`` without their ends.

    ``str.splitlines`` would also cut at characters that may stand inside a text, such as U+2028.
    """
    return [line.rstrip("\n") for line in io.StringIO(text, newline=None)]


def read_json_lines(path: Path, where: str, nan: bool = False) -> Iterator[tuple[int, Any]]:
    """Return the number, from 1, and the value of each line that is not blank.

    Args:
        path: a UTF-8 file.
        where: names the file in an error.
        nan: see ``parse_json``.

    Raises:
        UserError: the file cannot be read, or a line is not JSON.
    """
    with reworded((OSError, UnicodeDecodeError), UserError, f"{where}: cannot be read: "):
        text = path.read_text(encoding="utf-8-sig")
    for number, line in enumerate(split_lines(text), start=1):
        if line.strip():
            with reworded(ValueError, UserError, f"{where}: line {number} "):
                value = parse_json(line, nan=nan)
            yield number, value


def write_json_lines(path: Path, pictures: Iterable[Any], total: int, reported: int) -> None:
    """Write a value a line, whole or not at all, and say on the way how many are made.

    Args:
        path: to write.
        pictures: a value for each, made as they are asked for.
        total: of them.
        reported: pictures between two messages.
    """
    lines = []
    for value in pictures:
        lines.append(json.dumps(value) + "\n")
        if len(lines) % reported == 0:
            logger.info("%d of %d pictures", len(lines), total)
    write_bytes(path, "".join(lines).encode())
