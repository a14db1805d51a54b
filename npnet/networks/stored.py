"""What lies where a network should be, asked without torch and before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from npnet.errors import FieldError, UserError, one_line
from npnet.fields import from_mapping
from npnet.fit import PURPOSE
from npnet.networks.arguments import NPNetArguments
from npnet.paths import network_nearby
from npnet.untrusted import read_json
from npnet.weights.files import local_path

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CLASS = "network_class"
"""Key of ``config.json`` that says by which class it was exported, where that is not ours. Read by people, and compared
with the class that a user names; nothing is imported from it."""
OFFICIAL = (".pth", ".pt")
BEGINNINGS = (b"PK", b"\x80\x02")
"""Of what ``torch.save`` writes: an archive, or a pickle as it once was."""


def check(source: str, field: str, named: bool) -> None:
    """Refuse a file or folder of this machine from which no network can be loaded.

    Args:
        source: of the network; where nothing lies there it may be a hub id, and is not judged.
        field: the key that names it.
        named: whether the user names a class of their own, whose arguments only it knows.

    Raises:
        FieldError: says why; where it is a training run, or a part of one, also where the run's network lies.
    """
    path = local_path(source)
    if found := _fault(path, named):
        near = network_nearby(path)
        raise FieldError(field, source, f"{found}; {near}" if near else found)


def _fault(path: Path, named: bool) -> str | None:
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
        if not named and CLASS not in config:
            from_mapping(NPNetArguments, {name: config[name] for name in config if name != PURPOSE})
    except FieldError as error:
        return f"{CONFIG_FILE}: {one_line(error)}"
    except UserError as error:
        return str(error)
    return None


def _file_fault(path: Path) -> str | None:
    if path.suffix not in OFFICIAL:
        return "a file must be an official .pth; for this project's format give the folder"
    with path.open("rb") as file:
        return None if file.read(2) in BEGINNINGS else "is damaged: no file that torch.save wrote"
