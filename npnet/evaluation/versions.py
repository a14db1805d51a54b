"""What the numbers of an evaluation depend on besides its configuration."""

from __future__ import annotations

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """Return the versions that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("npnet-lightning", "torch", "diffusers", "transformers", "numpy"):
        try:
            found[package] = version(package)
        except ImportError:  # run from an uninstalled checkout
            found[package] = "not installed"
    return found
