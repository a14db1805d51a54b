"""Checks of configuration values, made before any model is loaded.

A refusal is one line that names the key, the value and what is allowed. Every function takes the composed configuration
and a dotted key, and returns the value. Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from npnet.errors import UserError, unknown


def value_at(cfg: Mapping[str, Any], key: str) -> Any:
    """Return the value at a dotted key.

    Raises:
        UserError: the key is missing.
    """
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            raise UserError(f"{key}: this key is missing from the configuration")
        node = node[part]
    return node


def whole_number(cfg: Mapping[str, Any], key: str, low: int = 0) -> int:
    """Return a whole number of at least ``low``."""
    value = value_at(cfg, key)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UserError(f"{key}={value}: a whole number of at least {low} is needed")
    return value


def positive_int(cfg: Mapping[str, Any], key: str) -> int:
    """Return a whole number of at least 1."""
    return whole_number(cfg, key, low=1)


def number(cfg: Mapping[str, Any], key: str, low: float = -math.inf) -> float:
    """Return a finite number of at least ``low``."""
    value = value_at(cfg, key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < low:
        bound = "" if low == -math.inf else f" of at least {low:g}"
        raise UserError(f"{key}={value}: a number{bound} is needed")
    return float(value)


def all_finite(node: Any, key: str = "") -> None:
    """Refuse NaN and infinity anywhere in a configuration: no setting means them, and JSON does not have them."""
    if isinstance(node, float) and not math.isfinite(node):
        raise UserError(f"{key}={node}: a finite number is needed (a text: write it in quotes)")
    if isinstance(node, Mapping):
        for name in node:
            all_finite(node[name], f"{key}.{name}" if key else str(name))
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for item in node:
            all_finite(item, key)


def boolean(cfg: Mapping[str, Any], key: str) -> bool:
    """Return true or false."""
    value = value_at(cfg, key)
    if not isinstance(value, bool):
        raise UserError(f"{key}={value}: allowed are true, false")
    return value


def choice(cfg: Mapping[str, Any], key: str, allowed: Sequence[str]) -> str:
    """Return one of the ``allowed`` words."""
    value = value_at(cfg, key)
    if value not in allowed:
        raise unknown(key, value, allowed)
    return str(value)


def text(cfg: Mapping[str, Any], key: str) -> str:
    """Return a non-empty text (a path or a name)."""
    value = value_at(cfg, key)
    if not isinstance(value, str) or not value:
        raise UserError(f"{key}={value}: a text is needed (quote a name of digits alone)")
    return value


def labels(cfg: Mapping[str, Any], group: str, exactly_one: bool = False) -> list[str]:
    """Return the labels of a group of labelled nodes (``noise``, ``metric``).

    Raises:
        UserError: there is none, a node has no ``_target_``, or there are several where one is needed.
    """
    nodes = value_at(cfg, group) if group in cfg else None
    found = [str(label) for label in nodes] if isinstance(nodes, Mapping) else []
    for label in found:
        if not isinstance(nodes[label], Mapping) or "_target_" not in nodes[label]:
            raise UserError(f"{group}.{label}: has no _target_, so there is no {group} of this label to build")
    if not found or (exactly_one and len(found) != 1):
        needed = "exactly one" if exactly_one else "at least one"
        raise UserError(f"{group}=[{','.join(found)}]: {needed} {group} is needed")
    return found
