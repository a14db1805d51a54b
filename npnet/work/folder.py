"""The output folder of a command, which must be on a local file system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from npnet.errors import FieldError
from npnet.paths import NO_ADDRESS, is_address


class NotAnAddress:
    """A rule for a field of settings, see ``npnet.fields``."""

    def holds(self, value: Any) -> bool:
        """Say whether the path is no address."""
        return not is_address(value)

    def refusal(self, value: Any) -> str:
        """Return what is said where it is one."""
        return NO_ADDRESS

    def __str__(self) -> str:
        """Return the rule in words."""
        return "on this machine"


class NotAFile:
    """A rule for a field of settings: a folder that is there or can be made."""

    def holds(self, value: Any) -> bool:
        """Say whether the nearest thing that is there, the path itself or one above it, is a folder."""
        return _nearest(value).is_dir()

    def refusal(self, value: Any) -> str:
        """Return what is said of a file."""
        return f"a folder is needed, and {_nearest(value)} is a file"

    def __str__(self) -> str:
        """Return the rule in words."""
        return "that is a folder or can be one"


def _nearest(value: Any) -> Path:
    path = Path(value).absolute()
    return next((place for place in (path, *path.parents) if place.exists()), path)


def require_outside(output_dir: Path, source: Path) -> None:
    """Refuse to write into a folder that is an input.

    Raises:
        FieldError: of ``output_dir``.
    """
    if output_dir.resolve().is_relative_to(source.resolve()):
        needed = f"lies in {source}, which is only read; choose another folder"
        raise FieldError("output_dir", output_dir, needed)


PLACE = (NotAnAddress(), NotAFile())
OutputFolder = Annotated[Path, *PLACE]
"""The annotation of ``output_dir``."""
