"""Reading the YAML files of the groups, ours and those of ``--config-dir``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from npnet.errors import UserError, one_line
from npnet.paths import config_dir, options

LISTS = ("callbacks", "diversity", "logger", "metric", "noise")
"""Groups of which several members are chosen at once. A file of them has its own name as its key."""


def read(file: Path) -> Any:
    """Return the content of a file of a group; interpolations stay texts.

    Raises:
        UserError: it is not YAML; names the file and the place.
    """
    try:
        return OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as YAML: {one_line(error)}") from error


def member(file: Path) -> dict[str, Any]:
    """Return what a file of a group in ``LISTS`` says of its member.

    Raises:
        UserError: it is not YAML, or not of this form; names the file.
    """
    content = read(file)
    own = content.get(file.stem) if isinstance(content, dict) else None
    if not isinstance(own, dict):
        raise UserError(f"{file}: needs the key {file.stem}, the name of the file, with the member's keys below it")
    return own


def check_own(folders: Sequence[Path]) -> None:
    """Refuse files of ``--config-dir`` that Hydra would fail on, or compose without an effect.

    Args:
        folders: see ``paths.config_dirs``; the last one is our own.

    Raises:
        UserError: see ``member``.
    """
    for group in (path.name for path in config_dir().iterdir() if path.is_dir()):
        for file in options(group, folders[:-1]).values():
            if group in LISTS:
                member(file)
            elif not isinstance(read(file), dict):
                raise UserError(f"{file}: needs keys with values")
