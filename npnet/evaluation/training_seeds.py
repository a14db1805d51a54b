"""Networks that differ only in their training seed are compared as one method: ``network_path=[DIR,DIR,DIR]``.

Each of them, a **member**, draws its own pictures from the same prompts and noise. The members' scores are averaged for
each pair, before prompts are resampled. So the results describe such networks in general, not a lucky one. Two methods
with several seeds are compared member by member, the first with the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]

from npnet.errors import UserError, reworded

NOTE = (
    "N training seeds: the mean over networks that differ only in their training seed, taken pair by pair; a dry run "
    "names them NAME-0, NAME-1, ...; two such methods are compared network by network, the first with the first"
)
"""The meaning of a row of a report."""


def expand(noise: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Give every network of a list its own entry.

    Args:
        noise: label -> node. If ``network_path`` is a list, or a text with braces (``run/seed_{0,1,2}/network``),
            ``label`` is a method with several training seeds.

    Returns:
        The nodes by the members' labels, ``label-0``, ``label-1``, ..., in order; and ``label -> members`` for every
        method. A single network is its own only member.

    Raises:
        UserError: a list is empty or holds values that are not texts, two lists differ in length, or a member's label
            is in use.
    """
    nodes: dict[str, dict[str, Any]] = {}
    members: dict[str, list[str]] = {}
    for label, node in noise.items():
        if not isinstance(node, Mapping):  # who builds it says so
            nodes[label], members[label] = node, [label]
            continue
        paths = _paths(label, node.get("network_path"))
        several = len(paths) > 1
        members[label] = [f"{label}-{number}" for number in range(len(paths))] if several else [label]
        for member, path in zip(members[label], paths, strict=True):
            if several and member in noise:
                raise UserError(f"noise.{member}: this label is one of the networks of noise.{label}; choose another")
            nodes[member] = {**node, "network_path": path} if "network_path" in node else dict(node)
    lengths = {label: len(names) for label, names in members.items() if len(names) > 1}
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{label} {length}" for label, length in lengths.items())
        raise UserError(f"network_path: methods of several training seeds need as many networks each, got {got}")
    return nodes, members


def _paths(label: str, given: Any) -> list[str | None]:
    """Return the networks that a path, a list or braces name; None is the one that ships with the built-in model."""
    if given is None:
        return [None]
    patterns = [given] if isinstance(given, str) else given
    if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) and p for p in patterns):
        raise UserError(f"noise.{label}.network_path={given}: a path, a hub id, or a list of them is needed")
    with reworded(UnbalancedBracesError, UserError, f"noise.{label}.network_path={given}: "):
        paths: list[str | None] = [path for pattern in patterns for path in braceexpand(pattern)]
    if len(set(paths)) < len(paths):
        raise UserError(f"noise.{label}.network_path={given}: a network is given twice")
    return paths
