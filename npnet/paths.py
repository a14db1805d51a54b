"""Where the configuration and the shipped weights lie, in a checkout and in an installed wheel alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from npnet.errors import UserError

_PACKAGE = Path(__file__).resolve().parent

ADDRESS = re.compile(r"(\./)*[A-Za-z][A-Za-z0-9+.-]+:(/.*)?", re.DOTALL)
"""``s3://bucket/x``, also where a ``Path`` has made one slash of the two, or has taken both; not ``C:``."""
NO_ADDRESS = "a folder on this machine is needed; addresses such as s3://... can be read, and not written to"


def config_dir() -> Path:
    """Return the folder of the YAML groups: ``npnet/conf`` in a wheel, ``conf`` beside the package in a checkout.

    Raises:
        FileNotFoundError: neither folder is there, so the installation is damaged.
    """
    for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf"):
        if (folder / "collect.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no configuration folder at {_PACKAGE / 'conf'} or {_PACKAGE.parent / 'conf'}")


def config_dirs(arguments: Sequence[str] = ()) -> list[Path]:
    """Return every folder that YAML groups are looked up in: those of ``--config-dir`` first, then our own."""
    own: list[Path] = []
    for index, argument in enumerate(arguments):
        flag, sign, value = argument.partition("=")
        if flag in ("--config-dir", "-cd"):
            value = value if sign else next(iter(arguments[index + 1 :]), "")
            own.append(Path(value).resolve())
    return [*own, config_dir()]


def options(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the files of a group by name, sorted; where two folders have the same name, the first one counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def shapes_weights(variant: str = "a") -> Path:
    """Return the folder of shipped Shapes weights: ``pipeline/``, ``scorer/``, three networks; see ``shapes.build``."""
    return _PACKAGE / "shapes" / "weights" / variant


def network_nearby(path: Path) -> str:
    """Say where a run's network is, if another file of the run was named; empty without a run.

    Args:
        path: a run's folder, its ``checkpoints/``, or a file in there.
    """
    if (path / "config.json").is_file():  # it is the network
        return ""
    for folder in (path, path.parent, path.parent.parent):
        if (folder / "network" / "config.json").is_file():
            return f"the network of this run is {folder / 'network'}"
        if (folder / "checkpoints").is_dir() and (folder / "request.json").is_file():
            return f"the run in {folder} has exported no network yet: finish it, or export one of its checkpoints"
    return ""


def is_address(path: Path | str) -> bool:
    """Say whether a path that is to be written to is an address."""
    return ADDRESS.fullmatch(str(path)) is not None


def refuse_address(path: Path | str, key: str = "") -> None:
    """Refuse to write to an address.

    Raises:
        UserError: names it, and the ``key`` that holds it.
    """
    if is_address(path):
        raise UserError(f"{f'{key}=' if key else ''}{path}: {NO_ADDRESS}")
