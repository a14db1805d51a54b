"""One run at a time in a folder."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from npnet.errors import UserError
from npnet.work.atomic import cannot_write, make_folder, remove_leftovers

NAME = ".lock"


@contextmanager
def hold(output_dir: Path) -> Iterator[None]:
    """Make ``output_dir`` and hold it for this process; what killed runs left half-written is removed.

    The lock is the kernel's (``flock`` on ``.lock``): it ends with its holder, however that dies, and the file that
    stays behind means nothing.

    Raises:
        UserError: another run holds the folder, or it cannot be made or written.
    """
    output_dir = Path(output_dir)
    make_folder(output_dir, "output_dir")
    path = output_dir / NAME
    try:
        file = path.open("ab")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"output_dir={output_dir}: another run is working in this folder; wait for it, or choose another one"
            ) from error
        remove_leftovers(output_dir)
        try:
            yield
        finally:
            remove_leftovers(output_dir)
