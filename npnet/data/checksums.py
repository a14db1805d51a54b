"""Checksums that show whether a shard and its sidecar are unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from npnet.errors import UserError

CHECKSUM = "sidecar_sha256"
"""Under this name a sidecar carries the digest of its other values; those of earlier versions do not."""


def checksum(sidecar: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a sidecar's values, its own checksum left out."""
    rest = {name: value for name, value in sidecar.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def changed(path: Path) -> UserError:
    """Return the error of a tar that is not the one its sidecar describes."""
    return UserError(f"{path}: was changed after it was written (its size or checksum differs from its sidecar)")


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_sha256(tars: Iterable[str]) -> str:
    """Return the digest of a data set: of the SHA-256 of each of its tars, in their order."""
    return hashlib.sha256(json.dumps(list(tars)).encode()).hexdigest()


def known_sha256(path: Path) -> str:
    """Return a file's SHA-256, computed once in a process as long as its size and time stay the same."""
    status = path.stat()
    return _known(path, status.st_size, status.st_mtime_ns)


@cache
def _known(path: Path, num_bytes: int, time_ns: int) -> str:
    return file_sha256(path)
