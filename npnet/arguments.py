"""The command line of commands without a configuration file: ``KEY=VALUE``, as in the other commands.

The keys are the fields of a frozen dataclass and are checked by its annotations. The first fields may be given by
position (``npnet status pairs``), and ``--json`` is another way to write ``json=true``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from npnet.errors import UserError, one_line
from npnet.fields import field_types, from_mapping, in_words

T = TypeVar("T")
KEY = re.compile(r"(--)?(?P<key>[A-Za-z_][\w-]*)=(?P<value>.*)", re.DOTALL)


def parse(cls: type[T], arguments: Sequence[str], positional: Sequence[str] = ()) -> T:
    """Read a command line into ``cls``.

    Args:
        cls: a frozen dataclass that checks itself.
        arguments: ``KEY=VALUE``, ``--key VALUE``, ``--flag``, or values for ``positional``.
        positional: fields that a value alone fills, in this order; the last one takes all that are left where it is a
            tuple.

    Raises:
        UserError: an argument is none of these, or a value is not allowed.
    """
    kinds = field_types(cls)
    values: dict[str, Any] = {}
    free = list(positional)
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        match = KEY.fullmatch(argument)
        if match and (match["key"].replace("-", "_") in kinds or match[1]):
            key, text = match["key"].replace("-", "_"), match["value"]
        elif argument.startswith("--"):
            key = argument.removeprefix("--").replace("-", "_")
            text = "true" if kinds.get(key) is bool or not rest else rest.pop(0)
        elif match and not free:
            key, text = match["key"], match["value"]
        elif free:
            several = len(free) == 1 and "tuple" in str(kinds[free[0]])
            if several:
                values.setdefault(free[0], []).append(argument)
            else:
                values[free.pop(0)] = argument
            continue
        else:
            raise UserError(f"{argument}: cannot be read as KEY=VALUE; keys: {', '.join(kinds)}")
        values[key] = text if kinds.get(key) is str else _value(key, text)
    return from_mapping(cls, values)


def asked(
    cls: type[T], arguments: Sequence[str], command: str, summary: str, positional: Sequence[str] = ()
) -> T | None:
    """Return what a command line asks for; where it asks for help, print that and return None.

    Raises:
        UserError: see ``parse``.
    """
    if {"-h", "--help"} & set(arguments):
        print(describe(cls, command, summary, positional))
        return None
    return parse(cls, arguments, positional)


def _value(key: str, text: str) -> Any:
    """Read a value as YAML does; a text that is no YAML stays a text."""
    try:
        return OmegaConf.to_container(OmegaConf.create(f"value: {text}" if text else "value: null"))["value"]  # type: ignore
    except OmegaConfBaseException as error:
        raise UserError(f"{key}={text}: cannot be read: {one_line(error)}") from error
    except Exception:  # yaml's own errors, of several classes
        return text


def quoted(text: str) -> str:
    """Return a text as a quoted value of Hydra's grammar, so that no character of it means anything else."""
    escaped = re.sub(r"(\\*)'", lambda match: 2 * match.group(1) + r"\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return "'" + escaped + "\\" * trailing + "'"


def describe(cls: type, command: str, summary: str, positional: Sequence[str] = ()) -> str:
    """Return the help of a command whose keys are the fields of ``cls``."""
    words = " ".join(f"[{name}=]{name.upper()}" for name in positional)
    documented = _documented(cls)
    lines = [f"npnet {command} {words} [KEY=VALUE ...]".replace("  ", " "), "", summary, ""]
    for field in fields(cls):
        lines.append(f"  {field.name}={_default(field)}  ({in_words(field_types(cls)[field.name])})")
        if documented.get(field.name):
            lines.append(f"      {documented[field.name]}")
    return "\n".join(lines)


def _default(field: Field[Any]) -> str:
    if field.default is MISSING:
        return "..." if field.default_factory is MISSING else "[]"
    return (
        "null"
        if field.default is None
        else str(field.default).lower()
        if field.default in (True, False)
        else str(field.default)
    )


def _documented(cls: type) -> dict[str, str]:
    """Return what the docstring's ``Attributes`` or ``Args`` say of each field."""
    text = inspect.getdoc(cls) or ""
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: one_line(said) for name, said in found}
