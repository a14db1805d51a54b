"""Errors of the user, each in one line.

Exit codes of every command: 0 on success, 2 with one line ``error: ...`` on standard error for a user's mistake; the
others are in ``npnet.ending``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from npnet.text import visible

AMBIGUOUS = re.compile(r"[-+.\d][-+.\deE_]*|null|true|false|")
"""Texts that read as a number or a word of YAML."""


class UserError(Exception):
    """A mistake that the user can correct: it names the file, key or value, and says what is allowed."""

    def __str__(self) -> str:
        """Return the line, with what a terminal obeys written as escapes: names in it may be a stranger's."""
        text = super().__str__()
        return visible(text) if text.isprintable() else one_line(text)


class MachineError(RuntimeError):
    """What the machine did to a run: neither a user's mistake nor a bug, so one line and no traceback.

    Attributes:
        code: of the command, as a shell gives it for a process that was killed: 128 and the signal.
    """

    code = 128 + 9


class FieldError(UserError, ValueError):
    """A value that its field does not allow: ``KEY=VALUE: NEEDED``.

    Whoever raises it knows only its own field; every level above adds its name with ``under``, so that the line names
    the key as a person types it.

    Attributes:
        key: dotted, relative to the level that handles the error.
        value: what was got.
        needed: what is allowed, in words.
    """

    def __init__(self, key: str, value: object, needed: str) -> None:
        self.key, self.value, self.needed = key, value, needed
        super().__init__(f"{key}={shown(value)}: {needed}" if key else f"{shown(value)}: {needed}")

    def __reduce__(self) -> tuple[type[Self], tuple[str, object, str]]:
        """Travel from a worker process with the three parts."""
        return type(self), (self.key, self.value, self.needed)

    def below(self, where: str) -> FieldError:
        """Return the same error with its key named from one level further up."""
        return FieldError(f"{where}.{self.key}" if self.key else where, self.value, self.needed)


@contextmanager
def under(where: str) -> Iterator[None]:
    """Name the keys of errors raised inside from one level further up: ``cycles`` -> ``noise.inversion.cycles``."""
    try:
        yield
    except FieldError as error:
        raise error.below(where) from error


def reason(error: BaseException, most: int = 400) -> str:
    """Say in one line of at most so many characters why Python or a library failed; what a user did wrong, whole."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = f"{error} is missing" if isinstance(error, KeyError) else one_line(error) or type(error).__name__
    return text[:most].rstrip(".")


@contextmanager
def reworded(
    kinds: type[BaseException] | tuple[type[BaseException], ...],
    make: Callable[[str], Exception],
    start: str = "",
    end: str = "",
    but: type[BaseException] | tuple[()] = (),
) -> Iterator[None]:
    """Raise ``make(START REASON END)`` in place of an error of a library.

    Args:
        kinds: of errors, as ``except`` takes them.
        make: ``UserError``, or ``partial(FieldError, key, value)``.
        start: of the line.
        end: of the line.
        but: errors that pass as they are.
    """
    try:
        yield
    except but:
        raise
    except kinds as error:
        raise make(f"{start}{reason(error)}{end}") from error


def one_line(message: object) -> str:
    """Return ``message`` as a single line, inner white space folded and what a terminal obeys written as escapes."""
    return visible(" ".join(str(message).split()))


def shown(value: object, most: int = 200) -> str:
    """Write a value as a command line would: ``null``, ``true``, quotes only where a text reads as something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        text = f"[{','.join(shown(item, most) for item in value)}]"
    elif isinstance(value, dict):
        text = "{" + ",".join(f"{key}:{shown(item, most)}" for key, item in value.items()) + "}"
    elif isinstance(value, str) and AMBIGUOUS.fullmatch(value):
        text = f'"{value}"'
    else:
        text = one_line(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def closest(got: object, allowed: Iterable[object]) -> str:
    """Return ``allowed: ...``, with the nearest name as a hint in front where one is near."""
    names = [shown(name) for name in allowed]
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed: {', '.join(names)}"


def unknown(kind: str, got: object, allowed: Iterable[object]) -> UserError:
    """Build the error for a name that is not among the ``allowed`` ones, with the nearest one as a hint."""
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return UserError(f"{kind} {got!r} is not known{hint}; allowed: {', '.join(names)}")
