"""Convert MPS's published file, a pickled module, to safetensors; only its tensors are read.

    npnet convert-mps MPS_overall_checkpoint.pth MPS_overall_checkpoint.safetensors

No code that the file names is imported or run. PyTorch's restricted reader lists the names, an inert class replaces
each of them, and the tensors are collected from the resulting tree.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npnet.arguments import asked
from npnet.description import Description
from npnet.ending import end
from npnet.errors import UserError, reworded
from npnet.weights.tensors import check_archive
from npnet.weights.writing import write_tensors

SUMMARY = "Convert the published MPS file to safetensors."
POSITIONAL = ("source", "target")


@dataclass(frozen=True)
class ConvertMPSSettings(Description):
    """The keys of ``convert-mps``.

    Attributes:
        source: the published file.
        target: the safetensors file to write.
    """

    source: str
    target: str


class Inert:
    """Stands in for whatever class or function the file names; keeps what it is given, and does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Swallow a list item."""

    def extend(self, items: Any) -> None:
        """Swallow list items."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Swallow a dictionary item."""


def read_module(path: Path) -> dict[str, Tensor]:
    """Return the parameters and saved buffers of a pickled module, by their dotted names.

    Raises:
        UserError: the file does not exist, is not a PyTorch file, or holds no module.
    """
    kinds = (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OSError)
    with (
        reworded(kinds, UserError, f"{path}: cannot be read as tensors alone: ", but=UserError),
        reworded(FileNotFoundError, lambda why: UserError(f"{path}: no such file")),
    ):
        check_archive(path)
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        with torch.serialization.safe_globals([(stand_in(name), name) for name in names]):
            module = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(module, dict):  # a table of tensors already
        state = {str(name): value for name, value in module.items() if isinstance(value, Tensor)}
    else:
        state = dict(tensors(module))
    if not state:
        raise UserError(f"{path}: holds no module")
    return state


def stand_in(name: str) -> type[Inert]:
    """Make an inert class for one name, so that each is a type of its own."""
    return type(name.rpartition(".")[2], (Inert,), {})


def tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Walk a module's stand-in as ``state_dict`` walks the module."""
    content = getattr(module, "state", None)
    if not isinstance(content, dict):
        return
    hidden = set(_items(content.get("_non_persistent_buffers_set")))
    for name, value in [*(content.get("_parameters") or {}).items(), *(content.get("_buffers") or {}).items()]:
        if isinstance(value, Tensor) and name not in hidden:
            yield prefix + name, value.detach()
    for name, child in (content.get("_modules") or {}).items():
        yield from tensors(child, f"{prefix}{name}.")


def _items(value: Any) -> list[Any]:
    """Return the members of a set, or of its stand-in."""
    if isinstance(value, Inert):
        return list(value.arguments[0]) if value.arguments else []
    return list(value or ())


def convert(source: Path, target: Path) -> int:
    """Write the tensors of ``source`` to ``target``; returns how many."""
    # copies, because safetensors refuses tensors that share memory
    state = {name: value.clone().contiguous() for name, value in read_module(source).items()}
    write_tensors(target, state)
    return len(state)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, the file is no module, or the target cannot be written.
    """
    settings = asked(ConvertMPSSettings, arguments, "convert-mps", SUMMARY, POSITIONAL)
    if settings is None:
        return 0
    count = convert(Path(settings.source), Path(settings.target))
    print(f"{settings.target}: {count} tensors")
    return 0


if __name__ == "__main__":
    end(lambda: main(sys.argv[1:]))
