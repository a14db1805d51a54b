"""Locks on a folder, for one run or for the workers of one job array.

The locks are those of the kernel (``flock``). They end with their process, however it dies, and a lock file that
remains has no effect. A run holds ``.run-0-of-1.lock`` while it works; a worker of a job array holds its own, such as
``.run-2-of-8.lock``. The text in the file names host, process and start. ``.lock`` is held for a moment at every start
and end.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from npnet.errors import UserError, reworded
from npnet.untrusted import parse_json
from npnet.work import request
from npnet.work.atomic import make_folder, remove_leftovers, writing
from npnet.work.share import WHOLE, Share

NAME = ".lock"
GUARD_SECONDS = 60.0
"""How long a start waits for another one to be over; it takes milliseconds unless the file system hangs."""


@dataclass(frozen=True)
class Holder:
    """A run that works in a folder.

    Attributes:
        share: which chunks it computes.
        who: host, process and start, as written by the run; empty if it could not write (a full disk).
    """

    share: Share
    who: str


@contextmanager
def hold(
    output_dir: Path, asked: Mapping[str, Any] | None = None, share: Share = WHOLE, folders: Sequence[str] = ()
) -> Iterator[None]:
    """Create ``output_dir``, lock ``share`` of its work, and check that the folder belongs to this request.

    If no other run works in the folder, at the start or the end, temporary files of killed runs are removed.

    Args:
        output_dir: the folder.
        asked: see ``request.claim``; None leaves that to the caller.
        share: of the work.
        folders: names of further folders in it that hold temporary files.

    Raises:
        UserError: the same share, or parts of another division, are being worked on; the folder cannot be made or
            written, or is another request's; its file system has no locks.
    """
    output_dir = Path(output_dir)
    make_folder(output_dir, "output_dir")
    path = output_dir / f".run-{share.index}-of-{share.count}.lock"
    with _guard(output_dir):
        others = active(output_dir)
        _refuse_beside(output_dir, share, others)
        if not others:
            _clear(output_dir, folders)
        if asked is not None:
            # another run may not have a result yet, but it has its request
            request.claim(output_dir, asked, replace=not others)
        file = _take(path, output_dir)
    try:
        yield
    finally:
        with suppress(UserError), _guard(output_dir):
            path.unlink(missing_ok=True)
            file.close()
            if not active(output_dir):
                _clear(output_dir, folders)
        file.close()


def active(output_dir: Path) -> list[Holder]:
    """Return the runs that work in ``output_dir`` now; needs no right to write there."""
    found = []
    for path in sorted(Path(output_dir).glob(".run-*-of-*.lock")):
        match = re.fullmatch(r"\.run-(\d+)-of-(\d+)\.lock", path.name)
        with suppress(FileNotFoundError):  # it ended while we looked
            if match and not _is_free(path):
                who = path.read_text(encoding="utf-8", errors="replace")
                found.append(Holder(Share(int(match[1]), int(match[2])), _one_who(who)))
    return sorted(found, key=lambda holder: (holder.share.count, holder.share.index))


def _refuse_beside(output_dir: Path, share: Share, others: Sequence[Holder]) -> None:
    beside = next((other for other in others if other.share == share or other.share.count != share.count), None)
    if beside is not None:
        raise UserError(_in_the_way(output_dir, share, beside))


def _in_the_way(output_dir: Path, share: Share, other: Holder) -> str:
    who, where = f" ({other.who})" if other.who else "", f"output_dir={output_dir}"
    if other.share != share:
        got, there = (
            "a run without worker.index" if s.is_whole else f"worker.count={s.count}" for s in (share, other.share)
        )
        differently = f"and {got} would divide the work differently; wait for it, or choose another folder"
        return f"{where}: {there} is at work in this folder{who}, {differently}"
    if share.is_whole:
        return f"{where}: another run is working in this folder{who}; wait for it, or choose another one"
    return f"worker.index={share.index}: this worker of {share.count} is already at work in {output_dir}{who}"


@contextmanager
def _guard(output_dir: Path) -> Iterator[None]:
    with _open(output_dir / NAME) as file:
        end = time.monotonic() + GUARD_SECONDS
        while not _lock(file, output_dir):
            if time.monotonic() > end:
                raise UserError(f"output_dir={output_dir}: {NAME} is held for {GUARD_SECONDS:.0f} s by another run")
            time.sleep(0.02)
        yield


def _take(path: Path, output_dir: Path) -> BinaryIO:
    file = _open(path)
    while not _lock(file, output_dir):  # free, but for an instant held by a check: see _is_free
        time.sleep(0.02)
    who = {"host": socket.gethostname(), "pid": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S%z")}
    with suppress(OSError):  # a full disk; it is for people only
        file.truncate(0)
        file.write(json.dumps(who).encode())
        file.flush()
    return file


def _open(path: Path) -> BinaryIO:
    with writing(path):
        return path.open("a+b")  # network file systems want it writable for an exclusive lock


def _lock(file: BinaryIO, output_dir: Path) -> bool:
    without = "), so that nothing would keep two runs apart; choose a folder on another one"
    with reworded(OSError, UserError, f"output_dir={output_dir}: its file system has no locks (", without):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _is_free(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _one_who(text: str) -> str:
    with suppress(ValueError, KeyError, TypeError):
        value = parse_json(text)
        return f"{value['host']}, process {value['pid']}, since {value['started']}"
    return ""


def _clear(output_dir: Path, folders: Sequence[str]) -> None:
    for folder in (output_dir, *(output_dir / name for name in folders)):
        remove_leftovers(folder)
