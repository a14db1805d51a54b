"""The command ``npnet info``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npnet.arguments import asked
from npnet.description import Description
from npnet.drawing.terminal import print_facts
from npnet.info.facts import facts

SUMMARY = "Describe a network, shards, an evaluation or a picture; without a path, this installation."


@dataclass(frozen=True)
class InfoSettings(Description):
    """The keys of ``info``.

    Attributes:
        path: what to describe; without it, the installation.
        json: print JSON, for programs.
    """

    path: Path | None = None
    json: bool = False


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Raises:
        UserError: the file or folder does not exist, or this project did not make it.
    """
    settings = asked(InfoSettings, arguments, "info", SUMMARY, ("path",))
    if settings is None:
        return 0
    found = facts(settings.path)
    if settings.json:
        print(json.dumps(found, indent=2))
    else:
        print_facts(found.pop("kind"), [(name, in_words(value)) for name, value in found.items()])
    return 0


def in_words(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not known"}[value]
    if isinstance(value, dict):
        return "\n".join(f"{key}: {json.dumps(item, ensure_ascii=False)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)
