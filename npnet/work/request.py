"""The configuration of a folder, in ``request.json``: one folder has one configuration."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from npnet.errors import FieldError, UserError
from npnet.untrusted import read_json
from npnet.work import atomic

NAME = "request.json"
SAME_COMMAND = 5
"""Keys that only one of two requests of the same command may have: those of another version, or of an option."""
DERIVED = ("samples_sha256", "contents")
"""Keys that follow from others."""
_MISSING = "nothing"


def claim(output_dir: Path, request: Mapping[str, Any], name: str = NAME, replace: bool = True) -> None:
    """Write the request into a new or empty folder, or check that the folder was made for the same one.

    A request with nothing beside it, left by a run that failed before its first result, is replaced.

    Args:
        output_dir: created if it does not exist. Hidden files do not count.
        request: everything that determines the results, as JSON values.
        name: of the file.
        replace: allow that; not while another run, which has no result yet, is at work.

    Raises:
        UserError: the folder holds files but no request, or was made by another command, or for another request (each
            differing key is named).
    """
    output_dir = Path(output_dir)
    atomic.make_folder(output_dir, "output_dir")
    if _is_to_write(output_dir, lambda: request, name, replace):
        atomic.write_json(output_dir / name, request)


def check(output_dir: Path, request: Callable[[], Mapping[str, Any]], name: str = NAME) -> None:
    """Refuse a folder that ``claim`` would refuse; nothing is written.

    Args:
        output_dir: need not be there.
        request: makes it; called only where there is one to compare it with.
        name: of the file.

    Raises:
        UserError: see ``claim``.
    """
    if Path(output_dir).is_dir():
        _is_to_write(Path(output_dir), request, name, replace=True)


def _is_to_write(output_dir: Path, request: Callable[[], Mapping[str, Any]], name: str, replace: bool) -> bool:
    """Say whether the request has still to be written into a folder, see ``claim``."""
    path = output_dir / name
    others = sorted(e.name for e in output_dir.iterdir() if not e.name.startswith(".") and e.name != name)
    if not path.exists():
        if others:
            raise UserError(
                f"output_dir={output_dir}: holds files that do not belong to this command ({_some(others)}) "
                f"and no {name}; choose another output_dir"
            )
        return True
    there, asked = read(output_dir, name), json.loads(json.dumps(request()))
    if others and len(asked.keys() ^ there.keys()) > SAME_COMMAND:
        raise UserError(f"output_dir={output_dir}: belongs to another command (see {name}); choose another one")
    differences = list(_differences(asked, there))
    # values that follow from the other keys add nothing
    differences = [text for text in differences if not text.startswith(DERIVED)] or differences
    if differences and replace and not others:
        return True
    if differences:
        raise UserError(
            f"output_dir={output_dir}: was made with another configuration: {_some(differences)}; "
            "choose another output_dir"
        )
    return False


def read(output_dir: Path, name: str = NAME) -> dict[str, Any]:
    """Return the request that ``output_dir`` was made for.

    Raises:
        UserError: there is none, or it is not readable.
    """
    path = Path(output_dir) / name
    request = read_json(path)
    if not isinstance(request, dict):
        raise UserError(f"{path}: is not a request")
    return request


def digest(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a request, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def require_finite(node: Any, key: str = "") -> None:
    """Refuse NaN and infinity anywhere in a configuration, because a request cannot hold them.

    Raises:
        FieldError: names the key.
    """
    if isinstance(node, float) and not math.isfinite(node):
        raise FieldError(key, node, "a finite number is needed (a text: write it in quotes)")
    if isinstance(node, str) and "\0" in node:
        raise FieldError(key, node, "holds a NUL, which no path, name or prompt may")
    if isinstance(node, Mapping):
        for name in node:
            require_finite(node[name], f"{key}.{name}" if key else str(name))
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for item in node:
            require_finite(item, key)


def _differences(got: Any, there: Any, where: str = "") -> Iterator[str]:
    if isinstance(got, dict) and isinstance(there, dict):
        for key in sorted(got.keys() | there.keys()):
            yield from _differences(
                got.get(key, _MISSING), there.get(key, _MISSING), f"{where}.{key}" if where else key
            )
    elif got != there:
        yield f"{where} (got {_short(got)}, there {_short(there)})"


def _short(value: Any) -> str:
    text = value if value is _MISSING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _some(items: list[str], limit: int = 5) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more
