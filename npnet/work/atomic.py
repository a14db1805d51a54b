"""Files are written whole or not at all.

A file is written under a temporary name in the same folder, flushed to the disk, and renamed. A killed run leaves at
most temporary files, which ``remove_leftovers`` (called by ``lock.hold``) removes at the next start.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from npnet.errors import UserError, reworded
from npnet.paths import refuse_address

TEMPORARY_SUFFIX = ".partial"


class AtomicFile:
    """A file being written; appears under its name when the ``with`` block ends without an exception.

    Args:
        path: its name.
        durable: wait until the file is on the disk. If False, a power cut may leave an empty file.

    Attributes:
        num_bytes: bytes written so far.
        sha256: hexadecimal digest of the bytes written so far.
    """

    def __init__(self, path: Path, durable: bool = True) -> None:
        refuse_address(path)
        self.path, self.durable = Path(path), durable
        # host and process tell two writers of the same file apart (a killed run may still be ending)
        writer = f"{socket.gethostname()}-{os.getpid()}"
        self._temporary = self.path.with_name(f".{self.path.name}.{writer}{TEMPORARY_SUFFIX}")
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._failure: UserError | None = None
        self.num_bytes = 0

    @property
    def sha256(self) -> str:
        """Return the digest of what was written so far."""
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        with writing(self.path):
            self._file = self._temporary.open("wb")
        return self

    def write(self, data: bytes) -> int:
        """Append ``data``.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        if self._file is None:  # a tar stream that is deleted after an error still writes its end
            return len(data)
        try:
            with writing(self.path):
                self._file.write(data)
        except UserError as error:
            self._failure = error
            raise
        self._hash.update(data)
        self.num_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed at the end. Some writers call this."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        whole = kind is None and self._failure is None
        try:
            with writing(self.path) if whole else suppress(OSError):
                if whole and self.durable:
                    file.flush()
                    os.fsync(file.fileno())
                file.close()
                if whole:
                    self._temporary.replace(self.path)
                if whole and self.durable:
                    _sync_folder(self.path.parent)
        finally:
            self._temporary.unlink(missing_ok=True)
        # torch, and other libraries that write, raise something else after it, or go on
        if self._failure is not None and self._failure is not error and (kind is None or issubclass(kind, Exception)):
            raise self._failure


def write_bytes(path: Path, data: bytes, durable: bool = True) -> None:
    """Write ``data`` to ``path``, whole or not at all; see ``AtomicFile``.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    with AtomicFile(path, durable) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON with sorted keys, so that equal values are equal bytes; see ``write_bytes``.

    Raises:
        ValueError: the value holds NaN or infinity, which JSON does not have.
    """
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def check_new(path: Path, key: str) -> None:
    """Refuse a file that exists or has no folder; ``key`` is the setting that names it, for the error.

    Raises:
        UserError: says which.
    """
    if path.exists():
        raise UserError(f"{key}={path}: already exists; choose another file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"{key}={path}: its folder does not exist")


def make_folder(folder: Path, key: str = "") -> None:
    """Create ``folder`` and its parents; ``key`` is the setting that names it, for the error.

    Raises:
        UserError: a file has this name, or the folder cannot be created.
    """
    name = f"{key}={folder}" if key else str(folder)
    refuse_address(folder, key)
    with (
        reworded(OSError, UserError, f"{name}: cannot be made: "),
        reworded(FileExistsError, lambda why: UserError(f"{name}: a file has the name of this folder")),
    ):
        folder.mkdir(parents=True, exist_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed runs left in ``folder``; its caller holds the folder's lock."""
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


def writing(path: Path) -> AbstractContextManager[None]:
    """Say in one line why a file cannot be written."""
    return reworded(OSError, UserError, f"{path}: cannot be written: ")


def _sync_folder(folder: Path) -> None:
    # the rename itself survives a power cut only when the folder is flushed too
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
