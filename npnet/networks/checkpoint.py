"""How an NPNet is stored: our format, read and written; the official ``.pth``, read (``npnet.networks.official``).

Our format is a directory, or a Hub repository, of ``config.json`` (the constructor's arguments) and
``model.safetensors`` (the state dict, in float32 or half precision). Every key and shape must fit: nothing is ever left
at random values in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from npnet.networks.checks import differences
from npnet.networks.official import read_official

if TYPE_CHECKING:
    from npnet.networks.npnet import NPNet

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

SWITCHED_OFF = {
    ("text_term", "off"): ("text.", "alpha"),
    ("singular_value_branch", "off"): ("singular_values.",),
    ("singular_value_branch", "no_attention"): ("singular_values.attention.",),
}
"""The parts that may be switched off on a trained network, and the keys that go with each."""


def save(network: NPNet, directory: Path, dtype: torch.dtype) -> None:
    """Write ``model.safetensors`` and ``config.json``; each appears whole or not at all."""
    if not dtype.is_floating_point:
        raise ValueError(f"dtype of the stored weights must be floating, got {dtype}")
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in network.state_dict().items()}
    partial = directory / f"{WEIGHTS_FILE}.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(directory / WEIGHTS_FILE)
    partial = directory / f"{CONFIG_FILE}.partial"
    partial.write_text(json.dumps(network.config, indent=2) + "\n")
    partial.replace(directory / CONFIG_FILE)


def load(
    cls: type[NPNet], source: str | Path, overrides: Mapping[str, str | None], hub_options: Mapping[str, Any]
) -> NPNet:
    """Build a network from a checkpoint; ``NPNet.from_pretrained`` states arguments and errors."""
    config, tensors = read(source, hub_options)
    for name, value in overrides.items():
        if value is None or value == config.get(name):
            continue
        if (name, value) not in SWITCHED_OFF or config.get(name) == "off":
            trained = config.get(name)
            raise ValueError(f"{source} was trained with {name}={trained}; a part can be switched off, got {value!r}")
        config[name] = value
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(SWITCHED_OFF[name, value])}
    network = build(cls, config, source)
    require_match(network, tensors, source)
    network.load_state_dict(tensors)
    return network.eval()


def initialise_from(network: NPNet, source: str | Path, **hub_options: Any) -> list[str]:
    """Copy the weights of a network trained for another backbone into ``network``, for fine-tuning.

    Everything must match but the text term, whose width or form depends on the backbone: where it does not fit as a
    whole it is left as newly initialised.

    Args:
        network: the network to fill, in place.
        source: as for ``NPNet.from_pretrained``.
        **hub_options: as for ``NPNet.from_pretrained``.

    Returns:
        The keys left newly initialised: empty, or all of the text term's (``alpha`` is then kept at its start, too).

    Raises:
        FileNotFoundError: as ``NPNet.from_pretrained``.
        ValueError: something other than the text term does not match.
    """
    config, tensors = read(source, hub_options)
    signs = "singular_vector_signs"
    if network.singular_values is not None and config.get(signs, network.config[signs]) != network.config[signs]:
        raise ValueError(f"{source} was trained with {signs}={config[signs]}, this network has {network.config[signs]}")
    text_keys = SWITCHED_OFF["text_term", "off"]
    own = {key: tensor.shape for key, tensor in network.state_dict().items() if key.startswith(text_keys)}
    fresh: list[str] = []
    if own != {key: tensor.shape for key, tensor in tensors.items() if key.startswith(text_keys)}:
        fresh = sorted(own)
        tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(text_keys)}
        tensors |= {key: network.state_dict()[key] for key in fresh}
    require_match(network, tensors, source)
    network.load_state_dict(tensors)
    return fresh


def read(source: str | Path, hub_options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a checkpoint's constructor arguments and float32 weights under our names, whatever its format."""
    path = Path(source)
    if path.is_file():
        if path.suffix not in (".pth", ".pt"):
            raise ValueError(f"{source}: a file must be an official .pth; for our own format give its directory")
        return read_official(path)
    if path.is_dir():
        files = [path / name for name in (CONFIG_FILE, WEIGHTS_FILE)]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise FileNotFoundError(f"{source} holds no whole NPNet: {' and '.join(missing)} missing")
    else:
        files = _download(source, hub_options)
    try:
        config = json.loads(files[0].read_text())
        tensors = {name: tensor.float() for name, tensor in load_file(files[1]).items()}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{source}: {CONFIG_FILE} is not JSON: {error}") from error
    except SafetensorError as error:
        raise ValueError(f"{source}: {WEIGHTS_FILE} is damaged or cut short: {error}") from error
    return config, tensors


def build(cls: type[NPNet], config: Mapping[str, Any], source: str | Path) -> NPNet:
    """Build a network from stored arguments, without a draw from the caller's random stream."""
    if not isinstance(config, dict):
        raise ValueError(f"{source}: {CONFIG_FILE} must hold an NPNet's arguments, got a {type(config).__name__}")
    unknown = sorted(set(config) - set(cls._hub_mixin_init_parameters))
    if unknown:
        raise ValueError(f"{source}: {CONFIG_FILE} is not of an NPNet this version knows: key {', '.join(unknown)}")
    with torch.random.fork_rng(devices=[]):
        return cls(**{**config, "pretrained_trunk": False})


def require_match(network: NPNet, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Check that ``tensors`` has exactly the keys and shapes of the network.

    Raises:
        ValueError: it has not; the message names the keys.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    faults = differences(expected, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    if faults:
        raise ValueError(f"{source} does not fit its network: {faults}")


def _download(source: str | Path, hub_options: Mapping[str, Any]) -> list[Path]:
    name = str(source)
    if isinstance(source, Path) or name.count("/") != 1 or name.startswith(("/", ".", "~")) or name.endswith(".pth"):
        raise FileNotFoundError(f"{name}: no such file or directory (a Hub repository is given as owner/name)")
    try:
        return [Path(hf_hub_download(name, file, **hub_options)) for file in (CONFIG_FILE, WEIGHTS_FILE)]
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileNotFoundError(f"{name} is no directory here and cannot be read from the Hub: {reason}") from error
