"""Tensors from files: every key must match, and no pickled code is executed.

A model is built without memory (meta device) and then gets the tensors of the file. So a missing key cannot leave
random weights. Files are safetensors, or PyTorch files of plain tensors read with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from npnet.errors import FieldError, one_line, reason, reworded
from npnet.weights.files import matches, read_index
from npnet.weights.sources import fetch

Module = TypeVar("Module", bound=nn.Module)
LEGACY_BUFFERS = ("*position_ids",)
"""0, 1, 2, ... : older transformers saved them; they are no weights and are made anew."""


def read_state(source: str, names: Sequence[str], field: str, revision: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of the first of ``names`` that a folder or hub repository holds, or that an index names.

    Raises:
        FieldError: there is none, or see ``read_tensors``.
    """
    path = fetch(source, names, field, revision)
    if not path.name.endswith(".index.json"):
        return read_tensors(path, field)
    state: dict[str, Tensor] = {}
    for shard in read_index(path, field, source):
        state |= read_tensors(fetch(source, [shard], field, revision), field)
    return state


def read_tensors(path: Path, field: str) -> dict[str, Tensor]:
    """Return the tensors of one file, on the CPU.

    Raises:
        FieldError: the file is damaged, or holds more than tensors (pickled code, which is never executed).
    """
    loaded = _read(path, field)
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise FieldError(field, path, "is not a table of tensors")
    return dict(loaded)


def check_archive(path: Path) -> None:
    """Compare the checksums of a PyTorch file's records; PyTorch itself does not notice a flipped bit.

    Files from before PyTorch 1.6, and files saved without checksums (all are 0), are not compared.

    Raises:
        ValueError: names the record.
        zipfile.BadZipFile: the file is damaged where it says what is in it.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as file:
        damaged = file.testzip() if any(record.CRC for record in file.infolist()) else None
    if damaged is not None:
        raise ValueError(f"is damaged: {damaged} does not have its checksum")


def load_values(path: Path) -> Any:
    """Return what ``torch.save`` wrote, on the CPU: tensors and plain values, with checked checksums.

    Torch's own messages advise to execute pickled code, so they are not shown.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, is no such file, or holds more than values, in words that follow the file's name.
    """
    if _is_text(path):
        raise ValueError("is a text, not weights: perhaps a git-LFS pointer, or a saved web page")
    try:
        check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unusual pickle protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        found = f" ({one_line(named[1])[:100]})" if named else ""
        raise ValueError(f"holds pickled objects{found}, which are never executed, or is damaged") from error
    except Exception as error:  # torch's readers raise errors of many kinds for damaged files
        what = reason(error, 200).split(". This is an internal")[0]
        raise ValueError(f"cannot be read, it is damaged or not a file of tensors: {what}") from error


def _read(path: Path, field: str) -> object:
    if path.suffix == ".safetensors" and not _is_text(path):
        with reworded(Exception, partial(FieldError, field, path), "cannot be read: "):
            return load_file(path)
    with reworded((ValueError, OSError), partial(FieldError, field, path)):
        return load_values(path)


def _is_text(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(200)
    return bool(start) and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start)


def build_empty(make: Callable[[], Module]) -> Module:
    """Build a module without memory for its weights; ``load_strict`` gives it the file's."""
    with torch.device("meta"):
        return make()


def load_strict(
    module: nn.Module,
    state: Mapping[str, Tensor],
    field: str,
    source: object,
    dtype: torch.dtype | None = torch.float32,
    ignored: Sequence[str] = LEGACY_BUFFERS,
) -> None:
    """Give ``module`` exactly the tensors of ``state``, and freeze it.

    Args:
        module: built by ``build_empty``.
        state: by the module's own names.
        field: for the error line.
        source: what the field holds.
        dtype: floating tensors become this; None keeps the file's.
        ignored: patterns of keys without content (see ``LEGACY_BUFFERS``), which may be missing.

    Raises:
        FieldError: a key is missing or too many, or has another shape or kind of number.
    """
    wanted = module.state_dict()
    given = {name: value for name, value in state.items() if name in wanted or not matches(name, ignored)}
    faults = mismatch(wanted, given)
    if faults:
        raise FieldError(field, source, f"not this model's weights: {faults}")
    if dtype is not None:
        given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in given.items()}
    module.load_state_dict(given, strict=True, assign=True)
    for child in module.modules():  # buffers that are saved nowhere
        positions = child._buffers.get("position_ids")
        if positions is not None and positions.is_meta and not next(iter(given.values())).is_meta:
            child._buffers["position_ids"] = torch.arange(positions.shape[-1]).expand(1, -1)
    module.eval().requires_grad_(False)


def mismatch(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """Return in words what of ``given`` is missing, unknown or of another shape or kind of number; None if nothing."""
    missing, surplus = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    wrong = [
        f"{name} {tuple(given[name].shape)} {given[name].dtype} instead of {tuple(value.shape)} {value.dtype}"
        for name, value in wanted.items()
        if name in given
        and (given[name].shape != value.shape or given[name].is_floating_point() != value.is_floating_point())
    ]
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in (("missing", missing), ("unknown", surplus), ("of another shape or type", wrong))
        if names
    ]
    return "; ".join(problems) or None


def require_loaded(module: nn.Module) -> None:
    """Check that every weight has values; if not, this is a bug."""
    empty = [name for name, value in [*module.named_parameters(), *module.named_buffers()] if value.is_meta]
    assert not empty, f"left without values: {empty[:5]}"
