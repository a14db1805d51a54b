"""A YAML file builds a description, which says what is wanted. Loading it returns a runtime, which does the work.

A description is a frozen dataclass. Its fields are the keys of its YAML and its annotations say what they may hold, so
it is checked where it is made (see ``fields``). It knows sizes and costs that need no weights, is sent to workers by
pickle, and imports no torch. Its runtime is named by ``runtime``, as a class or as ``"module:Class"``, which is
imported when it is loaded: this is the one place where a description reaches what needs torch.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from npnet.errors import under
from npnet.fields import check_fields


@dataclass(frozen=True)
class Description:
    """The base of the families' descriptions.

    A subclass that has more to check than single fields does so in ``__post_init__``, after ``super()``'s.
    """

    runtime: ClassVar[type | str]
    """What ``load`` makes: a class, or its place, ``"package.module:Class"``."""

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self) -> None:
        """Check what depends on files, and refuse it in one line before any model is loaded.

        Raises:
            FieldError: a path does not exist, a file is damaged, ...
        """

    def runtime_class(self) -> Any:
        """Return the class of the runtime, importing it where it is given by name."""
        return self.runtime if isinstance(self.runtime, type) else imported(self.runtime)


def imported(place: str) -> Any:
    """Return what ``"package.module:name"`` names, importing the module.

    What libraries make while they are imported stays. Python would look for garbage among it again and again, for a
    tenth of the time that a short command takes; it does so once, afterwards.
    """
    module, _, name = place.partition(":")
    was_on = gc.isenabled()
    gc.disable()
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        if was_on:
            gc.enable()


def load_each(group: str, described: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """Load each description onto a device, by its label; the labels stay in their order.

    Args:
        group: of the configuration, for the error.
        described: by label.
        device: for all of them.

    Raises:
        UserError: names the label, and what is wrong with which of its keys.
    """
    loaded = {}
    for label, description in described.items():
        with under(f"{group}.{label}"):
            loaded[label] = description.load(device)
    return loaded
