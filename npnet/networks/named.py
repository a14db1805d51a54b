"""The class that a user names for a network, such as ``my_pkg.MyNet``; the class in a folder is never used."""

from __future__ import annotations

import pkgutil
from functools import partial

from npnet.errors import FieldError, reworded
from npnet.networks.base import NoiseNetwork
from npnet.networks.npnet import NPNet


def network_class(place: str | None, key: str = "network") -> type[NoiseNetwork]:
    """Return the class at ``package.module.Class``; None stands for NPNet.

    Raises:
        FieldError: the name cannot be imported, or is not a network.
    """
    if place is None:
        return NPNet
    needed = "; a class is needed, such as my_pkg.MyNet"
    with reworded(Exception, partial(FieldError, key, place), "cannot be imported: ", needed):  # it may run any code
        found = pkgutil.resolve_name(place)
    if not isinstance(found, type) or not issubclass(found, NoiseNetwork):
        raise FieldError(key, place, "is not a network: a subclass of npnet.networks.NoiseNetwork is needed")
    return found
