"""The experiments of ``conf/experiment/``. Each is for one command, named at its end (``demo_train``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from npnet.errors import FieldError, closest
from npnet.paths import options

COMMANDS = ("collect", "train", "evaluate", "generate", "filter")
"""Those that take experiments."""


def command_of(experiment: str) -> str | None:
    """Return the command that an experiment is for; None where its name does not say."""
    name = experiment.rpartition("_")[2]
    return name if name in COMMANDS else None


def experiments(command: str, folders: Sequence[Path]) -> dict[str, str]:
    """Return a command's experiments, name -> what it is in one line (the first sentence of its comment)."""
    found = options("experiment", folders)
    return {name: _first_sentence(path) for name, path in found.items() if command_of(name) in (command, None)}


def check_experiment(command: str, arguments: Sequence[str], folders: Sequence[Path]) -> None:
    """Refuse an experiment that is not there, or that is another command's.

    Raises:
        FieldError: names the command that it is for, or the experiments that there are.
    """
    known = options("experiment", folders)
    for argument in arguments:
        key, sign, value = argument.lstrip("+").partition("=")
        if key != "experiment" or not sign or value in ("", "null"):
            continue
        for name in value.strip("[]").split(","):
            if name not in known:
                allowed = closest(name, experiments(command, folders))
                raise FieldError("experiment", name, f"no such experiment; {allowed}")
            other = command_of(name)
            if other not in (command, None):
                raise FieldError("experiment", name, f"is for another command: npnet {other} experiment={name}")


def _first_sentence(path: Path) -> str:
    """Return the first sentence of the comment at the head of a file, without the line that shows the command."""
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        if not text.startswith(("@package", "python ", "npnet ")):
            words.append(text)
    return re.split(r"(?<=\.)\s|:\s", " ".join(words).strip())[0].rstrip(".")
