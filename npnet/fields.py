"""Check values against the annotations of their fields.

In a description or a command's settings, the annotation of a field states the allowed values of its key. Nothing else
checks them again:

    cycles: Count = 1                                         # a whole number of at least 1
    share: Annotated[float, AtLeast(0), AtMost(1)] = 0.5
    time_label: Literal["destination", "source"] = "destination"
    budget: Budget = Budget()                                 # a dataclass, from a mapping of its fields

A wrong value raises a ``FieldError``: one line that names the key, the value and what is allowed. Nothing here imports
torch.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from npnet.bounds import (
    Above,
    AtLeast,
    AtMost,
    Below,
    Count,
    Name,
    NotEmpty,
    NotHuge,
    NotNegative,
    Positive,
    Rule,
    Seed,
    Share,
    Whole,
    is_number,
    is_whole,
)
from npnet.errors import FieldError, closest, under

__all__ = [
    "Above",
    "AtLeast",
    "AtMost",
    "Below",
    "Count",
    "Name",
    "NotEmpty",
    "NotNegative",
    "Positive",
    "Rule",
    "Seed",
    "Share",
    "Whole",
    "check_fields",
    "checked",
    "field_types",
    "from_mapping",
    "in_words",
]
T = TypeVar("T")
_PLAIN: dict[Any, tuple[str, Any]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", is_whole),
    float: ("a number", is_number),
    str: ("a text (write digits in quotes)", lambda value: isinstance(value, str)),
    type(None): ("null", lambda value: value is None),
}


def checked(annotation: Any, value: Any, key: str) -> Any:
    """Return ``value`` as its field holds it: floats, tuples and dataclasses are made from a YAML's values.

    Args:
        annotation: of the field; see the module's docstring for what is understood.
        value: what was got, plain values as a YAML gives them, or what is built from them.
        key: the field's name.

    Raises:
        FieldError: the value is not what the annotation allows.
    """
    if annotation is Any:
        return value
    if annotation in _PLAIN:
        words, fits = _PLAIN[annotation]
        if not fits(value):
            raise FieldError(key, value, _needed(words))
        return float(value) if annotation is float else value
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(annotation, value, key)
    if origin is Literal:
        if not any(value == allowed and type(value) is type(allowed) for allowed in arguments):
            raise FieldError(key, value, closest(value, arguments))
        return value
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, key)
    if origin in (tuple, list, Sequence):
        return _sequence(origin, arguments, value, key)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise FieldError(key, value, _needed(in_words(annotation)))
        return {
            checked(arguments[0], name, key): checked(arguments[1], item, f"{key}.{name}")
            for name, item in value.items()
        }
    if isinstance(annotation, type):
        return _instance(annotation, value, key)
    return value  # a callable, a protocol: what only code gives


def check_fields(instance: Any) -> None:
    """Check every field of a frozen dataclass against its annotation, and put what ``checked`` returns in its place.

    Raises:
        FieldError: names the first field that holds what it may not.
    """
    for name, annotation in field_types(type(instance)).items():
        object.__setattr__(instance, name, checked(annotation, getattr(instance, name), name))


def parameters_of(cls: type) -> tuple[dict[str, Any], bool]:
    """Return the annotations of a constructor's parameters by name, and whether it takes further keys.

    For a class that cannot be a dataclass, such as a torch module.
    """
    parameters, hints = inspect.signature(cls).parameters, get_type_hints(cls.__init__, include_extras=True)  # type: ignore[misc]
    named = {name: hints.get(name, Any) for name, found in parameters.items() if found.kind is not found.VAR_KEYWORD}
    return named, len(named) < len(parameters)


def field_types(cls: Any) -> dict[str, Any]:
    """Return the annotations of a dataclass's fields, by name."""
    return _field_types(cls)


@cache
def _field_types(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass from a mapping of its fields.

    Raises:
        FieldError: a key is unknown or missing, or a value is not allowed.
    """
    known = fields(cls)  # type: ignore[arg-type]
    for name in values:
        if name not in {field.name for field in known}:
            raise FieldError(str(name), values[name], f"no such key; {closest(name, [f.name for f in known])}")
    for field in known:
        if field.name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise FieldError(field.name, None, "this key is missing")
    return cls(**values)


def _instance(annotation: type, value: Any, key: str) -> Any:
    if isinstance(value, annotation):
        return value
    if annotation is Path and isinstance(value, str) and value:
        return Path(value)
    if is_dataclass(annotation) and isinstance(value, Mapping):
        with under(key):
            return from_mapping(annotation, value)
    raise FieldError(key, value, _needed(in_words(annotation)))


def _bounded(annotation: Any, value: Any, key: str) -> Any:
    kind, *rules = get_args(annotation)
    words = in_words(annotation)
    try:
        found = checked(kind, value, key)
    except FieldError as error:
        raise FieldError(error.key, error.value, _needed(words) if error.key == key else error.needed) from error
    for rule in rules:
        if hasattr(rule, "holds") and not rule.holds(found):
            needed = _needed(f"{words} {rule}" if isinstance(rule, NotHuge) else words)
            raise FieldError(key, value, rule.refusal(found) if hasattr(rule, "refusal") else needed)
    return found


def _one_of(arguments: Sequence[Any], value: Any, key: str) -> Any:
    """Return ``value`` as the first fitting alternative holds it; an error names all of them, or the nearest one's."""
    errors = []
    for alternative in arguments:
        try:
            return checked(alternative, value, key)
        except FieldError as error:
            errors.append(error)
    for found, kind in zip(errors, arguments, strict=True):  # a list of the right kind, one item wrong; a rule's words
        if found.key != key or (get_origin(kind) is Annotated and found.needed != _needed(in_words(kind))):
            raise found
    raise FieldError(key, value, _needed(_either(arguments)))


def _sequence(origin: Any, arguments: Sequence[Any], value: Any, key: str) -> Any:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise FieldError(key, value, _needed("a list"))
    fixed = origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis)
    if fixed and len(value) != len(arguments):
        raise FieldError(key, value, _needed(f"a list of {len(arguments)}"))
    kinds = arguments if fixed else [arguments[0]] * len(value)
    return tuple(checked(kind, item, f"{key}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def in_words(annotation: Any) -> str:
    """Say what an annotation allows."""
    if annotation in _PLAIN:
        return _PLAIN[annotation][0]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        rules = [str(rule) for rule in arguments[1:] if hasattr(rule, "holds") and not isinstance(rule, NotHuge)]
        kind = in_words(arguments[0])
        told = " and ".join(rules).replace(" and that ", " that ")
        return f"{'a text' if arguments[0] is str else kind} {told}" if rules else kind
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return _either(arguments)
    if origin in (tuple, list, Sequence):
        inner = [a for a in arguments if a is not Ellipsis]
        return f"a list of {_plural(inner[0])}" if inner else "a list"
    if origin in (dict, Mapping) or (isinstance(annotation, type) and is_dataclass(annotation)):
        return "a group of keys"
    if annotation is Path:
        return "a path"
    return f"a {getattr(annotation, '__name__', annotation)}"


def _plural(annotation: Any) -> str:
    words = in_words(annotation)
    for one, many in (("a whole number", "whole numbers"), ("a number", "numbers"), ("a text", "texts")):
        if words.startswith(one):
            return words.replace(one, many, 1).replace(" (write digits in quotes)", "")
    return words


def _either(arguments: Sequence[Any]) -> str:
    return ", or ".join(dict.fromkeys(map(in_words, arguments)))


def _needed(words: str) -> str:
    return f"{words} is needed"
