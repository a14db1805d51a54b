"""How a network is stored: a directory, or a Hub repository, of ``config.json`` and ``model.safetensors``.

``config.json`` holds the constructor's arguments, ``model.safetensors`` the state dict, in float32 or half precision.
Every key and shape must match, so that no weight stays random unnoticed. Nothing in a file chooses a class.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from npnet.errors import one_line, reworded
from npnet.networks.checks import differences
from npnet.networks.stored import CONFIG_FILE, WEIGHTS_FILE
from npnet.paths import network_nearby
from npnet.untrusted import parse_json
from npnet.weights.writing import write_tensors
from npnet.work.atomic import make_folder, write_json

HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download")
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights may be stored as."""
MOST_CONFIG_BYTES = 1_000_000


def save(network: nn.Module, directory: Path, config: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Write ``model.safetensors`` and ``config.json``; each is written whole or not at all, with the umask's mode.

    Raises:
        ValueError: ``dtype`` is not floating.
        UserError: the disk is full, or the folder cannot be written.
    """
    if not dtype.is_floating_point:
        raise ValueError(f"dtype of the stored weights must be floating, got {dtype}")
    make_folder(directory)
    tensors = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in network.state_dict().items()
    }
    write_tensors(directory / WEIGHTS_FILE, tensors, {"format": "pt"})
    write_json(directory / CONFIG_FILE, dict(config))


def read(source: str | Path, hub_options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a directory or a repository holds: the configuration, and the weights in float32.

    Raises:
        FileNotFoundError: no such directory or repository, or a file is missing in it.
        ValueError: a file is damaged or of another kind.
    """
    path = Path(source)
    if path.is_file():
        raise ValueError(
            f"{source}: a file must be an official .pth; for this project's format give the folder{_near(path)}"
        )
    if path.is_dir():
        files = [path / name for name in (CONFIG_FILE, WEIGHTS_FILE)]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"{source} holds no whole network: {' and '.join(missing)} missing{_near(path)}")
    else:
        files = _download(source, hub_options)
    config = _config(files[0], source)
    damaged = f"{source}: {WEIGHTS_FILE} is damaged or cut short: "
    with reworded(SafetensorError, ValueError, damaged), reworded(KeyError, ValueError, f"{damaged}the dtype "):
        tensors = load_file(files[1])
    for name, tensor in tensors.items():
        if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype not in FLOATING):
            raise ValueError(one_line(f"{source}: {WEIGHTS_FILE}: {name} is of {tensor.dtype}"))
        if not torch.isfinite(tensor).all():
            raise ValueError(one_line(f"{source}: {WEIGHTS_FILE}: {name} holds NaN or infinity"))
    return config, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def require_match(network: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Check that ``tensors`` has exactly the keys and shapes of the network.

    Raises:
        ValueError: it has not; the message names the keys.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    faults = differences(expected, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if faults:
        raise ValueError(one_line(f"{source} does not fit its network: {faults}"))
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() != tensors[name].is_floating_point():
            raise ValueError(f"{source} does not fit its network: {name} is of {tensors[name].dtype}")


def _config(file: Path, source: str | Path) -> dict[str, Any]:
    with reworded((OSError, ValueError), ValueError, f"{source}: {CONFIG_FILE} "):
        if file.stat().st_size > MOST_CONFIG_BYTES:
            raise ValueError(f"it is larger than {MOST_CONFIG_BYTES} bytes")
        config = parse_json(file.read_bytes())
    if not isinstance(config, dict):
        raise ValueError(f"{source}: {CONFIG_FILE} must hold an NPNet's arguments, got a {type(config).__name__}")
    if not all(name.isidentifier() for name in config):
        raise ValueError(
            f"{source}: {CONFIG_FILE} does not describe an NPNet that this version knows: a key is not a name"
        )
    return config


def _near(path: Path) -> str:
    near = network_nearby(path)
    return f" ({near})" if near else ""


def _download(source: str | Path, hub_options: Mapping[str, Any]) -> list[Path]:
    name = str(source)
    if isinstance(source, Path) or name.count("/") != 1 or name.startswith(("/", ".", "~")) or name.endswith(".pth"):
        raise FileNotFoundError(f"{name}: no such file or folder (a hub repository is OWNER/NAME)")
    nowhere = f"{name} is not a folder here and cannot be read from the hub: "
    with reworded((HfHubHTTPError, HFValidationError, OSError), FileNotFoundError, nowhere):
        return [Path(hf_hub_download(name, file, **hub_options)) for file in (CONFIG_FILE, WEIGHTS_FILE)]


def build(cls: Any, config: Mapping[str, Any], source: str | Path, tensors: Mapping[str, Tensor]) -> Any:
    """Build a network of ``cls`` from stored arguments, without a draw from the caller's random stream.

    A stranger's arguments could ask for any amount of memory, so the shapes of the stored ``tensors`` are compared
    first.

    Raises:
        ValueError: an argument is unknown, the class refuses one, or the tensors are not those of the network.
    """
    parameters = inspect.signature(cls.__init__).parameters
    unknown = sorted(set(config) - set(parameters))
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        what = f"an {cls.__name__} this version knows" if cls.__name__ == "NPNet" else f"a {cls.__name__}"
        raise ValueError(f"{source}: {CONFIG_FILE} is not of {what}: key {', '.join(unknown)}")
    kinds = (TypeError, ValueError, RuntimeError, MemoryError, OverflowError)
    with reworded(kinds, ValueError, f"{source}: {CONFIG_FILE}: "), torch.random.fork_rng(devices=[]):
        empty = None
        with suppress(*kinds), torch.device("meta"):  # a user's class may need real numbers
            empty = cls.from_config(config)
    if empty is not None:
        require_match(empty, tensors, source)
    with reworded(kinds, ValueError, f"{source}: {CONFIG_FILE}: "), torch.random.fork_rng(devices=[]):
        return cls.from_config(config)
