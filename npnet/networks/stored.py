"""Checks of the files where a network should be, without torch and before anything is loaded."""

from __future__ import annotations

import re
from pathlib import Path

from npnet.errors import FieldError, UserError, one_line
from npnet.fields import from_mapping
from npnet.fit import PURPOSE
from npnet.networks.arguments import PLACES, NPNetArguments
from npnet.paths import network_nearby
from npnet.untrusted import read_json
from npnet.weights.files import local_path

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CLASS = "network_class"
"""Key of ``config.json`` that says by which class it was exported, where that is not ours. Read by people, and compared
with the class that a user names; nothing is imported from it."""
OFFICIAL = (".pth", ".pt")
OFFICIAL_SELECTED_BY = ("hpsv2",)
"""What selected the pairs of an official file (appendix A.4), of which the file itself says nothing."""
BEGINNINGS = (b"PK", b"\x80\x02")
"""Of what ``torch.save`` writes: an archive, or a pickle as it once was."""


def check(source: str, field: str, own: str | None) -> None:
    """Refuse a file or folder of this machine from which no network can be loaded.

    Args:
        source: of the network. A path that does not exist may be a hub id and is not checked.
        field: the key that names it.
        own: the place of a class of the user's own, whose arguments only it knows; None for ``NPNet``.

    Raises:
        FieldError: says why. For a training run, or a part of one, it also says where the run's network is.
    """
    path = local_path(source)
    if found := _fault(path, own):
        near = network_nearby(path)
        raise FieldError(field, source, f"{found}; {near}" if near else found)


def _fault(path: Path, own: str | None) -> str | None:
    if path.is_file():
        return _file_fault(path)
    if not path.is_dir():
        return None
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (path / name).is_file()]
    if missing:
        return f"no network there ({' and '.join(missing)} missing)"
    try:
        config = read_json(path / CONFIG_FILE)
        if not isinstance(config, dict):
            return f"{CONFIG_FILE} must hold an NPNet's arguments"
        asked, exported = own or PLACES[-1], config.get(CLASS)
        if exported is not None and not is_class(exported, asked):
            return other_class(exported, asked)
        if own is None:
            from_mapping(NPNetArguments, {name: config[name] for name in config if name not in (PURPOSE, CLASS)})
    except FieldError as error:
        return f"{CONFIG_FILE}: {one_line(error)}"
    except UserError as error:
        return str(error)
    return None


def is_class(exported: object, asked: str) -> bool:
    """Say whether a folder's word for its class is the name of the class that is asked; its package may have moved."""
    return str(exported).rpartition(".")[2] == asked.rpartition(".")[2]


def other_class(exported: object, asked: str) -> str:
    """Return what is said of a folder of another class than the one asked: which one, and how a command is told."""
    name = str(exported)
    if not re.fullmatch(r"[A-Za-z_][\w.]{0,199}", name):
        return f"{CONFIG_FILE} is of another network than {asked}"
    return (
        f"was exported by {name}, not by {asked}: name its class, if you trust it, with "
        f"noise.npnet.network={name} in a command, or load it with {name}.from_pretrained"
    )


def _file_fault(path: Path) -> str | None:
    if path.suffix not in OFFICIAL:
        return "a file must be an official .pth; for this project's format give the folder"
    with path.open("rb") as file:
        return None if file.read(2) in BEGINNINGS else "is damaged: no file that torch.save wrote"
