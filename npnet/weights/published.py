"""Small published files: downloaded once, checked by their SHA-256, and kept in the hub's cache."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub

from npnet.errors import FieldError, one_line
from npnet.work import atomic

TIMEOUT_SECONDS = 60.0


def published_file(url: str, sha256: str | None, room: str, field: str, hint: str) -> Path:
    """Return a published file, from the cache or from its address.

    The cache is a folder of huggingface_hub's, for files of other libraries: ``$HF_HOME/assets/npnet/ROOM``.

    Args:
        url: https. Its last part names the file.
        sha256: of the file; None where it is not known. A fetched file must have it.
        room: folder of the cache.
        field: for the error line.
        hint: how to work without the address, for the error line.

    Raises:
        FieldError: it cannot be downloaded, downloads are off (``HF_HUB_OFFLINE=1``), or the file has changed.
    """
    # the address is part of the folder's name, because two files can have the same name
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    place = Path(huggingface_hub.cached_assets_path("npnet", room, digest)) / Path(urlsplit(url).path).name
    if not (place.is_file() and _is_right(place.read_bytes(), sha256)):
        data = _fetched(url, field, hint)
        if not _is_right(data, sha256):
            raise FieldError(field, url, "is not the published file any more (its SHA-256 differs)")
        atomic.write_bytes(place, data)
    return place


def _is_right(data: bytes, sha256: str | None) -> bool:
    return sha256 is None or hashlib.sha256(data).hexdigest() == sha256


def _fetched(url: str, field: str, hint: str) -> bytes:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise FieldError(field, url, f"is not in the cache, and HF_HUB_OFFLINE is set; {hint}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return answer.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise FieldError(field, url, f"cannot be fetched: {one_line(reason)}; {hint}") from error
