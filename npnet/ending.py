"""How every command ends.

| exit code | means |
|---|---|
| 0 | done |
| 2 | a user's mistake: one line on standard error that begins ``error:`` |
| 130, 143 | stopped by Ctrl-C or by SIGTERM (Slurm, ``docker stop``): one line that says how to resume |
| 137 | a worker was killed, often because memory ran out: one line |
| 141 | whoever read our output has gone (``... | head``) |
| 1 | a bug, with its traceback |
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from npnet.errors import MachineError, UserError, one_line
from npnet.messages import plain_messages

INTERRUPTED, TERMINATED, READER_GONE, MISTAKE = 130, 143, 141, 2
SOON = 0.05
"""Seconds until a signal that was lost is sent once more."""
RESUME = "stopped: run the same command to resume"


class Terminated(BaseException):
    """SIGTERM arrived; like ``KeyboardInterrupt``, it passes through whatever handles ordinary errors."""


def end(work: Callable[[], int | None], resume: str = RESUME) -> NoReturn:
    """Do ``work`` and leave the process with its exit code; see the module's docstring.

    Args:
        work: returns an exit code, None for 0.
        resume: what is printed where the command was stopped.
    """
    stderr = sys.stderr
    for stream in (sys.stdout, stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the characters still shows the rest
    try:
        with plain_messages(), _sigterm_raises():
            code = work() or 0
            sys.stdout.flush()
    except UserError as error:
        refuse(one_line(error), stderr)
    except MachineError as error:
        print(f"error: {one_line(error)}", file=stderr)
        code = error.code
    except KeyboardInterrupt:
        print(resume, file=stderr)
        code = INTERRUPTED
    except Terminated:
        print(resume, file=stderr)
        code = TERMINATED
    except BrokenPipeError:
        _drop_output()
        code = READER_GONE
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _drop_output()
        refuse("the output could not be written: no space is left on its disk", stderr)
    sys.exit(code)


def refuse(message: str, stderr: Any = None) -> NoReturn:
    """Print the line of a user's mistake and leave with exit code 2."""
    print(f"error: {message}", file=stderr or sys.stderr)
    sys.exit(MISTAKE)


def find_own_packages() -> None:
    """Make packages of the current folder importable, also where a console script was started.

    Raises:
        UserError: the folder was deleted.
    """
    here = working_folder()
    if here not in sys.path:
        sys.path.insert(0, here)


def working_folder() -> str:
    """Return the current folder.

    Raises:
        UserError: it was deleted.
    """
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise UserError("the current folder no longer exists; change to one that does") from error


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut short what the first one cleans up
        raise Terminated

    def again(lost: Any) -> None:
        if not isinstance(lost.exc_value, Terminated):
            hook(lost)
            return
        signal.signal(signal.SIGTERM, stop)
        threading.Timer(SOON, os.kill, (os.getpid(), signal.SIGTERM)).start()

    # where the signal lands in a finaliser, Python drops what is raised there, and the run would go on for good
    hook, sys.unraisablehook = sys.unraisablehook, again
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook


def _drop_output() -> None:
    # the interpreter would complain once more when it flushes
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
