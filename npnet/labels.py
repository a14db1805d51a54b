"""A second noise method or metric of one kind, by a longer label: ``noise.npnet_30k.KEY=VALUE``.

A file of ``conf/noise/`` or ``conf/metric/`` carries one label, ``npnet``, and Hydra knows no other. An override of
``npnet_30k`` asks for another member with the keys and defaults of ``npnet``; before Hydra reads the command line, the
node is put in front of it as an override of its own.

And the opposite: ``noise=[standard,npnet]`` with an experiment that tunes ``inversion`` compares those two; what the
experiment says of a method that is not compared is taken away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npnet.option_files import member, read
from npnet.paths import options

GROUPS = ("noise", "metric")
OPEN = ("trainer.", "callbacks.", "logger.")
"""Beginnings of keys of Lightning's own classes: a YAML file names the usual ones, and what else is typed is added."""
CHOICE = re.compile(rf"(?P<group>{'|'.join(GROUPS)})=\[(?P<names>\w+(,\w+)*)\]")
"""``noise=[standard,npnet_30k]``."""
OVERRIDE = re.compile(rf"\+?(?P<group>{'|'.join(GROUPS)})\.(?P<label>\w+)(?P<rest>[.=].*)", re.DOTALL)


def with_new_labels(arguments: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return the command line with a node for each label that continues the name of a known one.

    Args:
        arguments: what was typed; a label whose ``_target_`` or whole node is given there, or in the experiment that is
            named there, is left as it is.
        folders: of the groups, see ``paths.config_dirs``.
    """
    result: list[str] = []
    made: set[tuple[str, str]] = set()
    given = {_place(match) for match in map(OVERRIDE.fullmatch, arguments) if match and _is_whole(match["rest"])}
    given |= {place for name in _experiments(arguments) for place, whole in _labels(name, folders) if whole}
    for argument in arguments:
        if chosen := CHOICE.fullmatch(argument):
            names = chosen["names"].split(",")
            found = {(chosen["group"], name): _known(chosen["group"], name, folders) for name in names}
            new = {place: known for place, known in found.items() if known and place not in given | made}
            made.update(new)
            result.append(f"{chosen['group']}=[{','.join(n for n in names if (chosen['group'], n) not in new)}]")
            result += [_made(*place, known, folders) for place, known in new.items()]
            continue
        match = OVERRIDE.fullmatch(argument)
        known = None if match is None or _place(match) in given else _known(match["group"], match["label"], folders)
        if match is None or known is None:
            result.append(argument)
            continue
        if _place(match) not in made:
            made.add(_place(match))
            result.append(_made(*_place(match), known, folders))
        result.append(argument.removeprefix("+"))
    return result


def with_open_keys(arguments: Sequence[str]) -> list[str]:
    """Return a training's command line with ``trainer.KEY=``, which a YAML file need not name, as ``++trainer.KEY=``.

    What the class does not have is refused where its keys are checked, so Hydra need not.
    """
    return [f"++{argument}" if argument.startswith(OPEN) else argument for argument in arguments]


def without_tuned(arguments: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Return the command line without what its experiments tune of members that its ``noise=`` or ``metric=`` lacks.

    Args:
        arguments: what was typed.
        folders: of the groups, see ``paths.config_dirs``.
    """
    pairs = _pairs(arguments)
    chosen = {key: re.findall(r"\w+", value) for key, value in pairs if key in GROUPS and "],[" not in value}
    typed = {_place(match) for match in map(OVERRIDE.fullmatch, arguments) if match}
    unused = {
        (group, label): f"~{group}.{label}"
        for name in _experiments(arguments)
        for (group, label), whole in _labels(name, folders)
        if not whole and group in chosen and label not in chosen[group] and (group, label) not in typed
    }
    return [*arguments, *unused.values()]


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Return key and value of each argument, the value empty where there is no ``=``."""
    return [(key, value) for key, _, value in (argument.lstrip("+").partition("=") for argument in arguments)]


def _experiments(arguments: Sequence[str]) -> list[str]:
    """Return the names of the experiments that were typed."""
    return [name for key, value in _pairs(arguments) if key == "experiment" for name in re.findall(r"\w+", value)]


def _labels(experiment: str, folders: Sequence[Path]) -> list[tuple[tuple[str, str], bool]]:
    """Return the labels that an experiment, or one that it starts from, sets: (place, whether it makes the node)."""
    file = options("experiment", folders).get(experiment)
    if file is None:
        return []  # the command says so
    content = read(file)
    found = [
        name
        for default in content.get("defaults", [])
        if isinstance(default, str) and default != "_self_"
        for name in _labels(default, folders)
    ]
    nodes = [(group, label, node) for group in GROUPS for label, node in (content.get(group) or {}).items()]
    return found + [((group, str(label)), "_target_" in (node or {})) for group, label, node in nodes]


def _place(match: re.Match[str]) -> tuple[str, str]:
    return match["group"], match["label"]


def _is_whole(rest: str) -> bool:
    return rest.startswith(("=", "._target_="))


def _known(group: str, label: str, folders: Sequence[Path]) -> str | None:
    """Return the longest known label that ``label`` continues after an underscore; None where it is one itself."""
    known = options(group, folders)
    if label in known:
        return None
    parts = label.split("_")
    names = ("_".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return next((name for name in names if name in known), None)


def _made(group: str, label: str, known: str, folders: Sequence[Path]) -> str:
    """Return the override that adds a node for a label that continues ``known``."""
    return f"+{group}.{label}={_flow(member(options(group, folders)[known]))}"


def _flow(value: Any) -> str:
    """Write a plain value in the grammar of Hydra's overrides; interpolations stay what they are."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_flow, value)) + "]"
    if isinstance(value, str) and not value.startswith("${"):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
