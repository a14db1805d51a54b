"""The files of tables, settings and published figures, each checked as a dataclass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from npnet import option_files
from npnet.errors import UserError, reworded, unknown
from npnet.fields import from_mapping

T = TypeVar("T")


def read(cls: type[T], path: Path) -> T:
    """Return a YAML file as a ``cls``.

    Raises:
        UserError: it is not of this form; names it.
    """
    content = option_files.read(path)
    with reworded(UserError, UserError, f"{path}: "):
        return from_mapping(cls, content)


def read_all(cls: type[T], paths: Iterable[Path]) -> dict[str, T]:
    """Return YAML files as ``cls``, by their names.

    Raises:
        UserError: see ``read``.
    """
    return {path.stem: read(cls, path) for path in paths}


def named(kind: str, name: str, found: Mapping[str, T]) -> T:
    """Return what has a name.

    Raises:
        UserError: there is none of this name.
    """
    if name not in found:
        raise unknown(kind, name, found)
    return found[name]
