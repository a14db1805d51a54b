"""Comparing what a JSON file holds with the ``TypedDict`` that describes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from npnet.errors import FieldError
from npnet.fields import checked

INTERVAL = 2
"""Numbers of an interval, the only lists of numbers in a file."""


def fault_of(kind: Any, value: Any, where: str = "") -> str | None:
    """Say what part of a value has a wrong type, None where all is right; a null number stands for NaN.

    Args:
        kind: a ``TypedDict``, or a type of its keys.
        value: as JSON has it.
        where: the key of the value, for the message; empty for the whole file.
    """
    if is_typeddict(kind):
        needed = {k for k, v in get_type_hints(kind, include_extras=True).items() if get_origin(v) is not NotRequired}
        if not isinstance(value, Mapping) or not needed <= value.keys():
            missing = sorted(needed - (value.keys() if isinstance(value, Mapping) else set()))
            return f"{where or 'the file'}: lacks {', '.join(missing[:3])}"
        hints = get_type_hints(kind)
        return _first(fault_of(hints[key], value[key], f"{where}.{key}".lstrip(".")) for key in value if key in hints)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is float and value is None:
        return None
    if origin is dict and isinstance(value, dict):
        return _first(fault_of(arguments[1], item, f"{where}.{key}") for key, item in value.items())
    if origin is list and isinstance(value, list):
        if arguments == (float,) and len(value) != INTERVAL:
            return f"{where}: two numbers are needed"
        return _first(fault_of(arguments[0], item, where) for item in value)
    if origin is UnionType and any(fault_of(one, value, where) is None for one in arguments):
        return None
    try:
        checked(kind, value, where)
    except FieldError:
        return f"{where}: has the wrong type"
    return None


def _first(faults: Iterable[str | None]) -> str | None:
    return next((fault for fault in faults if fault is not None), None)
