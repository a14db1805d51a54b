"""From a composed configuration to a command's settings: the last place where a configuration is a dictionary.

The settings of a command are a frozen dataclass whose fields are the command's keys. Plain fields are checked by their
annotations (see ``fields``). A field whose annotation is a class that a ``_target_`` can make, or a ``dict`` of such,
is built from its node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args, get_origin

from omegaconf import OmegaConf

from npnet.description import Description
from npnet.errors import FieldError, closest
from npnet.fields import checked, field_types
from npnet.instantiate import Node, build

T = TypeVar("T")


def resolved(cfg: Any) -> dict[str, Any]:
    """Return a composed configuration as plain values, interpolations resolved.

    Raises:
        omegaconf.errors.OmegaConfBaseException: a mandatory key is missing, or an interpolation cannot be resolved; the
            command turns it into one line.
    """
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def read(cls: type[T], config: Mapping[str, Any]) -> T:
    """Check a command's keys and build what its nodes describe.

    Args:
        cls: the settings, a frozen dataclass that checks its own fields (a ``Description``).
        config: plain values, see ``resolved``. Keys that ``cls`` does not have are left alone: they belong to
            Hydra, or to groups that the command reads by interpolation.

    Raises:
        UserError: names the first key with a wrong value.
    """
    hints = field_types(cls)
    values: dict[str, Any] = {}
    for name, annotation in hints.items():  # the command's own values first: nodes repeat them by interpolation
        if name in config and not isinstance(config[name], Mapping):
            checked(annotation, config[name], name)
    for field in fields(cls):  # type: ignore[arg-type]
        if field.name in config:
            values[field.name] = _built(hints[field.name], config[field.name], field.name)
        elif field.default is MISSING and field.default_factory is MISSING:
            needed = "this key is missing from the configuration"
            if get_origin(hints[field.name]) is dict:  # what Hydra makes of an empty list of names
                needed = f"at least one is needed, {field.name}=[NAME]"
            raise FieldError(field.name, None, needed)
    return cls(**values)


def _built(annotation: Any, value: Any, key: str) -> Any:
    """Build a node, or the labelled nodes of a group; any other value is left to the dataclass's own check."""
    if get_origin(annotation) is Mapping:  # nodes of other packages' classes, built where they are used
        return value
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and kind is not type(None)]
    if Node in kinds:
        return Node(key, value) if isinstance(value, Mapping) else value
    labelled = [kind for kind in (annotation, *get_args(annotation)) if get_origin(kind) is dict]
    if labelled and get_args(labelled[0])[1] is Node and isinstance(value, Mapping):
        return {str(n): Node(f"{key}.{n}", v) if isinstance(v, Mapping) else v for n, v in value.items()}
    described = any(issubclass(kind, Description) for kind in kinds)
    if isinstance(value, Mapping) and get_origin(annotation) is not dict and ("_target_" in value or described):
        return build(value, key, kinds[0] if kinds else object)
    if get_origin(annotation) is dict and isinstance(value, Mapping):
        kind = get_args(annotation)[1]
        if isinstance(kind, type) and kind not in (bool, int, float, str):
            return {str(label): _labelled(node, f"{key}.{label}", kind, value) for label, node in value.items()}
    return value


def _labelled(node: Any, where: str, kind: type, group: Mapping[str, Any]) -> Any:
    if not isinstance(node, Mapping) or "_target_" not in node:
        complete = [label for label, other in group.items() if isinstance(other, Mapping) and "_target_" in other]
        raise FieldError(
            where,
            node,
            f"this label has no _target_, so there is nothing of this name to build; {closest(where, complete)}",
        )
    return build(node, where, kind)
