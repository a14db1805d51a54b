"""JSON lines: one value a line; as people write them, with blank lines between them passed over, and as we do."""

from __future__ import annotations

import fcntl
import glob
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from npnet.errors import UserError, reworded
from npnet.untrusted import parse_json
from npnet.work.atomic import writing
from npnet.work.request import digest

logger = logging.getLogger(__name__)

UNFINISHED = ".unfinished"
Made = TypeVar("Made")


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


def read_records(
    path: Path, where: str, fault: Callable[[Any], str | None], alike: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the records of a file that one model made, a record a line.

    Args:
        path: see ``read_json_lines``; so is ``where``.
        where: names the file in an error.
        fault: says what is wrong with a record; None where nothing is.
        alike: keys that hold the same in every record.

    Raises:
        UserError: see ``read_json_lines``; a line is no such record, differs from the first, or there is none.
    """
    records: list[dict[str, Any]] = []
    for number, record in read_json_lines(path, where):
        wrong = fault(record)
        if wrong is None:
            records.append(record)
            differing = [key for key in alike if record.get(key) != records[0].get(key)]
            wrong = f"is of another {differing[0]} than line 1" if differing else None
        if wrong is not None:
            raise UserError(f"{where}: line {number} {wrong}")
    if not records:
        raise UserError(f"{where}: holds no record")
    return records


def write_json_lines(
    path: Path, request: Mapping[str, Any], pictures: Sequence[Made], make: Callable[[Made], Any], reported: int
) -> None:
    """Write a value a line for each picture, and say on the way how many are made; a killed run resumes.

    Lines are kept as they are made, in a hidden file beside ``path`` whose name says the request. It becomes ``path``
    when it is whole.

    Args:
        path: to write.
        request: what decides the lines; JSON values.
        pictures: in the order of the lines.
        make: the line's value for one of them.
        reported: pictures between two messages.

    Raises:
        UserError: another run is at work on the same file, or left it unfinished for another request; the disk is full.
    """
    kept = path.with_name(f".{path.name}.{digest(request)[:16]}{UNFINISHED}")
    beside = path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED}")
    others = [other for other in beside if other != kept and other.stat().st_size]
    if others:
        raise UserError(
            f"{path}: {others[0].name} beside it is of a run with other pictures or another model that was not "
            "finished; remove it, or name a new file"
        )
    with writing(kept):
        file = kept.open("a+b")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{path}: another run is writing this file") from None
        done = _whole_lines(file)
        if done:
            logger.info("resuming: %d of %d pictures are done", done, len(pictures))
        for number, picture in enumerate(pictures[done:], start=done + 1):
            line = json.dumps(make(picture)) + "\n"
            with writing(kept):
                file.write(line.encode())
                file.flush()
            if number % reported == 0:
                logger.info("%d of %d pictures", number, len(pictures))
        with writing(path):
            os.fsync(file.fileno())
            kept.replace(path)


def _whole_lines(file: BinaryIO) -> int:
    """Return how many lines a killed run left whole, and cut off what follows them."""
    file.seek(0)
    number = end = 0
    for line in file:
        try:
            parse_json(line.decode())
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        number, end = number + 1, end + len(line)
    file.truncate(end)
    return number
