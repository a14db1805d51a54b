"""Networks that differ in their training seed alone, compared as one method: ``network_path=[DIR,DIR,DIR]``.

Each of them, a **member**, draws its own pictures of the same prompts from the same noise. What is reported of the
method is the mean of its members, pair by pair, before prompts are resampled: an interval then speaks of such networks
and not of a lucky one. Two methods of several seeds are compared member by member, the first with the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]

from npnet.errors import UserError, reworded


def expand(noise: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Give every network of a list a node of its own.

    Args:
        noise: label -> node. A ``network_path`` that is a list, or a text whose braces stand for one
            (``run/seed_{0,1,2}/network``), makes ``label`` a method of several training seeds.

    Returns:
        The nodes by the members' labels, ``label-0``, ``label-1``, ..., in order; and ``label -> members`` of every
        method, of which one network alone is its own only member.

    Raises:
        UserError: a list is empty or holds something else than texts, two lists differ in length, or a member's label
            is taken.
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
