"""What a person did wrong, said in one line.

Exit codes of every command: 0 on success, 2 with one line ``error: ...`` on standard error for a user's mistake,
anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: names the file, key or value, says what was got and what is allowed."""


def one_line(message: object) -> str:
    """Return ``message`` as a single line: the first line that says something, with inner white space folded."""
    return " ".join(str(message).split())


def unknown(kind: str, got: object, allowed: Iterable[object]) -> UserError:
    """Build the error for a name that is not among the ``allowed`` ones, with the nearest one as a hint."""
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return UserError(f"{kind} {got!r} is not known{hint}; allowed: {', '.join(names)}")
