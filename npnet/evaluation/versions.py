"""The versions on which the numbers of an evaluation depend."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

PACKAGES = ("npnet-lightning", "torch", "diffusers", "transformers", "numpy")


def versions() -> dict[str, str]:
    """Return the versions that the numbers depend on."""
    return {"python": platform.python_version(), **{package: _version(package) for package in PACKAGES}}


@cache  # every cell carries them, and a package's files are slow to read
def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:  # run from an uninstalled checkout
        return "not installed"
