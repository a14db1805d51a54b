"""Where a command writes: a folder of this machine's file systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any


def is_address(folder: Path | str) -> bool:
    """Say whether a path is an address, whose two slashes a ``Path`` has made one."""
    first = str(folder).partition("/")[0]
    return len(first) > 2 and first.endswith(":") and "/" in str(folder)


class NotAnAddress:
    """A rule for a field of settings, see ``npnet.fields``."""

    def holds(self, value: Any) -> bool:
        """Say whether the path is no address."""
        return not is_address(value)

    def __str__(self) -> str:
        """Return the rule in words."""
        return "of a folder on this machine (addresses such as s3://... are read, and not written to)"


class NotAFile:
    """A rule for a field of settings: a folder that is there or can be made."""

    def holds(self, value: Any) -> bool:
        """Say whether the nearest thing that is there, the path itself or one above it, is a folder."""
        path = Path(value).absolute()
        return next((place for place in (path, *path.parents) if place.exists()), path).is_dir()

    def __str__(self) -> str:
        """Return the rule in words."""
        return "that is no file and lies in none"


WORDS = f"a path {NotAnAddress()} is needed"
PLACE = (NotAnAddress(), NotAFile())
OutputFolder = Annotated[Path, *PLACE]
"""The annotation of ``output_dir``."""
