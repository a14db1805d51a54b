"""What a person did wrong, said in one line.

Exit codes of every command: 0 on success, 2 with one line ``error: ...`` on standard error for a user's mistake,
anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable
from typing import NoReturn


class UserError(Exception):
    """A mistake the user can mend: names the file, key or value, says what was got and what is allowed."""


class OneLineParser(argparse.ArgumentParser):
    """A command line that is no Hydra command's; ``usage`` is said with each mistake."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and leaving.

        Raises:
            UserError: says what was wrong with the arguments.
        """
        raise UserError(f"{message} (usage: {self.usage})")


def one_line(message: object) -> str:
    """Return ``message`` as a single line: the first line that says something, with inner white space folded."""
    return " ".join(str(message).split())


def unknown(kind: str, got: object, allowed: Iterable[object]) -> UserError:
    """Build the error for a name that is not among the ``allowed`` ones, with the nearest one as a hint."""
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return UserError(f"{kind} {got!r} is not known{hint}; allowed: {', '.join(names)}")
