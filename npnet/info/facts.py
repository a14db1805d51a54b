"""Facts of networks, shards, evaluations, pictures and installations, each as a flat table of plain values."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from npnet import DISTRIBUTION, __version__
from npnet import __file__ as here
from npnet.data.sidecars import list_shards
from npnet.description import imported
from npnet.errors import UserError
from npnet.evaluation.contract import read_results
from npnet.fit import PURPOSE
from npnet.networks.stored import OFFICIAL
from npnet.report.wording import shown
from npnet.untrusted import read_json

SHOWN = ("torch", "lightning", "diffusers", "transformers", "timm", "open_clip_torch", "webdataset", "hydra-core")
ASKED = ("backbone", "noise", "num_inference_steps", "guidance_scale")
"""Keys of a collection's request that are shown."""
NOTHING = "not made by npnet: neither a network nor shards, an evaluation or a picture of npnet generate"


def facts(path: Path | None) -> dict[str, Any]:
    """Return what ``path`` is; without one, what is installed here.

    Args:
        path: a network (``network/``), a training run, shards, an evaluation, an official ``.pth``, or a picture of
            ``npnet generate``.

    Raises:
        UserError: the file or folder does not exist, or this project did not make it.
    """
    if path is None:
        return installation()
    if path.is_file() and path.suffix == ".png":
        made_from = imported("npnet.generation.making:facts_of")(path)
        if made_from is None:
            raise UserError(f"{path}: {NOTHING}")
        return {"kind": "picture", **made_from}
    if path.is_file() and path.suffix in OFFICIAL:
        return imported("npnet.info.official:official")(path)
    if path.name == "results.json" or (path / "results.json").is_file():
        return evaluation(path if path.is_file() else path / "results.json")
    if (path / "network" / "config.json").is_file():
        return {"kind": "training run", **network(path / "network")}
    if (path / "config.json").is_file():
        return {"kind": "network", **network(path)}
    if any(path.glob("shard-*.tar")):
        return shards(path)
    raise UserError(f"{path}: {NOTHING if path.exists() else 'there is no such file or folder'}")


def installation() -> dict[str, Any]:
    """Return the versions of this project and its libraries, the GPUs, and problems of the installation."""
    versions = {name: _version(name) for name in SHOWN}
    return {
        "kind": "installation",
        "npnet": f"{__version__} ({Path(here).parent})",
        "distribution": _version(DISTRIBUTION) or "not installed: the folder itself is used",
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: version or "not installed" for name, version in versions.items()},
        **imported("npnet.info.devices:devices")(),
        **({} if (warning := shadowed()) is None else {"warning": warning}),
    }


def shadowed() -> str | None:
    """Say which other distribution has this import name; None where none does."""
    owners = metadata.packages_distributions().get("npnet", [])
    others = sorted(set(owners) - {DISTRIBUTION})
    if not others:
        return None
    names = ", ".join(others)
    return f"another distribution installs a package npnet too: pip uninstall {names}, then reinstall {DISTRIBUTION}"


def network(folder: Path) -> dict[str, Any]:
    """Return the facts in a network's folder: its purpose, its form and its training.

    Raises:
        UserError: a file of it cannot be read.
    """
    config = _mapping(folder / "config.json")
    trained = _mapping(folder / "training.json") if (folder / "training.json").is_file() else {}
    weights = folder / "model.safetensors"
    known = {
        PURPOSE: config.get(PURPOSE),
        "selected_by": trained.get("selected_by"),
        "pairs": trained.get("pairs"),
        **_measured(trained),
    }
    return {
        "folder": str(folder),
        "bytes": weights.stat().st_size if weights.is_file() else None,
        "class": config.get("network_class", "npnet.networks.NPNet"),
        **{name: value for name, value in known.items() if value is not None},
        "config": config,
    }


def shards(folder: Path) -> dict[str, Any]:
    """Return what a folder of shards holds.

    Raises:
        UserError: a sidecar or the request cannot be read.
    """
    found = list_shards(folder, complete=False)
    request = found[0].request if found else {}
    tried = [pair for shard in found for pair in shard.tried]
    kept = sum(pair.kept for pair in tried)
    return {
        "kind": "shards",
        "folder": str(folder),
        "shards": len(found),
        "bytes": sum(int(shard.sidecar["num_bytes"]) for shard in found),
        "pairs tried": len(tried),
        "pairs kept": kept,
        "prompts": len({pair.prompt for pair in tried}),
        "metrics": sorted({name for pair in tried for name in pair.scores}),
        **{
            key: request[key]
            for key in ("backbone", "noise", "num_inference_steps", "guidance_scale")
            if key in request
        },
    }


def evaluation(path: Path) -> dict[str, Any]:
    """Return what an evaluation compared, and the mean of each method on each metric.

    Raises:
        UserError: the file cannot be read.
    """
    results = read_results(path)
    means = {
        f"{shown(results, label)}, {name}": f"{entry['mean'] * entry['display_scale']:.4g} (n = {entry['count']})"
        for label, method in results["methods"].items()
        for name, entry in method["metrics"].items()
    }
    return {
        "kind": "evaluation",
        "folder": str(path.parent),
        "pairs": results["num_pairs"],
        "prompts": results["num_prompts"],
        "smoke": results["smoke"],
        **means,
    }


def _measured(trained: Mapping[str, Any]) -> dict[str, Any]:
    figures = trained.get("last_epoch_metrics")
    names = ("val/mse", "val/relative_mse", "val/direction_share")
    return {name: figures[name] for name in names if name in figures} if isinstance(figures, Mapping) else {}


def _mapping(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no keys")
    return found


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
