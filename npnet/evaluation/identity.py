"""Digests of everything that decides a number of an evaluation: of a metric, and of a method with its settings.

The batch size and the order of samples are in no digest, because they change values only by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npnet.backbones import Backbone
from npnet.data.checksums import file_sha256
from npnet.noise import NoiseMethod
from npnet.work.numerics import USUAL
from npnet.work.request import digest

FOLDER = "cells"
DIGITS = 20
"""Of the digests in names of files and folders."""
NETWORK_FILES = ("config.json", "model.safetensors")


def setting_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all cells of a folder share: the model, and how noise becomes a picture."""
    backbone = {key: value for key, value in config["backbone"].items() if key != "device"}
    keys = ["num_inference_steps", "guidance_scale", "sampler", "seed", *(key for key in USUAL if key in config)]
    return {"backbone": backbone, **{key: config[key] for key in keys}}


def metric_digest(node: Mapping[str, Any]) -> str:
    """Return the digest of a metric: of its configuration, and of the size and age of its local files."""
    return digest({"metric": dict(node), "files": local_files(node)})


def space_digest(node: Mapping[str, Any]) -> str:
    """Return the digest of a space of features, in the same way."""
    return digest({"space": dict(node), "files": local_files(node)})


def method_digest(
    setting: Mapping[str, Any],
    node: Mapping[str, Any],
    method: NoiseMethod,
    backbone: Backbone,
    metrics: Mapping[str, str],
) -> str:
    """Return the digest of a method with its settings, the content of its network, and its search metrics.

    Args:
        setting: see ``setting_of``.
        node: of the method, with its scorer filled in.
        method: the description built from it.
        backbone: the model.
        metrics: label -> digest.
    """
    contents = network_contents(method, backbone)
    own = {key: value for key, value in node.items() if key != "network_path" or not contents}
    scorers = {name: metrics[name] for name in method.scorers}
    return digest({"setting": setting, "method": own, "network": contents, "scorers": scorers})


def network_contents(method: NoiseMethod, backbone: Backbone) -> list[str]:
    """Return the SHA-256 of a network's files on this machine; nothing for other methods and for hub ids.

    So a network that was trained again under the same name counts as another one, and a renamed one as the same.
    """
    network = method.applied_network
    given = getattr(method, "network_path", None) if network is None else network.folder(backbone)
    path = Path(given) if given is not None else None
    if path is None or not path.exists():
        return []
    files = [path / name for name in NETWORK_FILES] if path.is_dir() else [path]
    return [file_sha256(file) for file in files if file.is_file()]


def local_files(node: Mapping[str, Any]) -> list[list[Any]]:
    """Return path, size and age of the local files that a metric's node names."""
    files: list[list[Any]] = []
    for value in node.values():
        path = Path(value) if isinstance(value, str) and value else None
        if path is not None and path.exists():
            inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            files += [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in inside]
    return files
