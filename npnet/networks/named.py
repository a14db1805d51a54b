"""The class that a user names for a network, such as ``my_pkg.MyNet``; what a downloaded folder says is not asked."""

from __future__ import annotations

import importlib

from npnet.errors import FieldError, one_line
from npnet.networks.base import NoiseNetwork
from npnet.networks.npnet import NPNet


def network_class(place: str | None, key: str = "network") -> type[NoiseNetwork]:
    """Return the class of a place, ``package.module.Class``; None stands for NPNet.

    Raises:
        FieldError: nothing of that name can be imported, or it is no network.
    """
    if place is None:
        return NPNet
    module, _, name = place.replace(":", ".").rpartition(".")
    if not module:
        raise FieldError(key, place, "the place of a class is needed, such as my_pkg.MyNet")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise FieldError(key, place, f"cannot be imported: {one_line(error)}") from error
    if not isinstance(found, type) or not issubclass(found, NoiseNetwork):
        raise FieldError(key, place, "is no network: a subclass of npnet.networks.NoiseNetwork is needed")
    return found
