"""From a YAML node to an object: the only caller of ``hydra.utils.instantiate``."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf.errors import OmegaConfBaseException

from npnet.errors import FieldError, UserError, closest, one_line, unknown
from npnet.fields import checked

# Hydra logs what it raises as well; a mistake is told once
logging.getLogger("hydra.utils").addHandler(logging.NullHandler())


def build(node: Any, where: str, kind: type = object, **kwargs: Any) -> Any:
    """Build the object a ``_target_`` node describes; lists and dictionaries arrive as plain ones.

    Args:
        node: a configuration node with ``_target_``.
        where: the node's place in the configuration (``noise.inversion``), for the error line.
        kind: what it must be an instance of.
        **kwargs: further constructor arguments.

    Raises:
        UserError: the target is not found, a key is not its parameter, the constructor refused a value, or it made
            something else.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise FieldError(where, node, "a group of keys with _target_ is needed, as a file of conf/ has it")
    _require_kind(node, where, kind)
    try:
        made = instantiate(node, _convert_="all", **kwargs)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, FieldError):
            raise cause.below(where) from error
        mistakes = (ValueError, TypeError, OSError, UserError, ImportError)
        if cause is not None and not isinstance(cause, mistakes) and _is_ours(node["_target_"]):
            raise
        raise UserError(f"{where}: {_reason(node, cause if cause is not None else error)}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {one_line(error)}") from error
    _require(isinstance(made, kind), node, where, kind)
    return made


@dataclass(frozen=True)
class Node:
    """A part that is built later, when more of it is known.

    Attributes:
        where: its place in the configuration.
        keys: its keys, plain values, ``_target_`` among them.
    """

    where: str
    keys: Mapping[str, Any]

    def build(self, kind: type = object, **kwargs: Any) -> Any:
        """Build it; see ``build``."""
        return build(self.keys, self.where, kind, **kwargs)

    def check(self, allowed: Mapping[str, Any], open_ended: bool = False) -> None:
        """Refuse keys that its class does not have, and values that they may not hold.

        Args:
            allowed: key -> annotation, see ``fields``.
            open_ended: whether the class hands further keys on.

        Raises:
            FieldError: names the key.
        """
        for key, value in self.keys.items():
            if key in allowed:
                checked(allowed[key], value, f"{self.where}.{key}")
            elif key != "_target_" and not open_ended:
                raise FieldError(f"{self.where}.{key}", value, f"no such key; {closest(key, allowed)}")


def _require_kind(node: Mapping[str, Any], where: str, kind: type) -> None:
    """Refuse a class of another kind before it is called; what cannot be imported is left to ``instantiate``."""
    try:
        target = get_object(node["_target_"])
    except Exception:
        return
    _require(not isinstance(target, type) or issubclass(target, kind), node, where, kind)


def _require(fits: bool, node: Mapping[str, Any], where: str, kind: type) -> None:
    if not fits:
        raise UserError(f"{where}: _target_={node['_target_']} does not make a {kind.__name__}")


def _is_ours(target: Any) -> bool:
    """Say whether a class is one of this project: others have exceptions of their own for a wrong value."""
    return str(target).split(".")[0] in ("npnet", "collect")


def _reason(node: Any, error: BaseException) -> str:
    """Say what was wrong; of a key that the target does not have, which there are."""
    match = re.search(r"got an unexpected keyword argument '(\w+)'", str(error))
    if match is None:
        line = one_line(error)
        return (
            f"{line} (a package in neither this folder nor the environment needs PYTHONPATH)"
            if "No module" in line
            else line
        )
    parameters = list(inspect.signature(get_object(node["_target_"])).parameters)
    return str(unknown("key", match[1], parameters))


def build_all(nodes: Any, where: str, kind: type = object) -> dict[str, Any]:
    """Build every labelled node of a group, ``{label: node}`` -> ``{label: object}``, in the order given."""
    return {str(label): build(node, f"{where}.{label}", kind) for label, node in (nodes or {}).items()}
