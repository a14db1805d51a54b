"""Pictures become files in a thread of their own, so that sampling does not wait for their encoding."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

AHEAD = 16
"""Calls that may wait; a sampling that is faster than the disk waits for it, so that memory stays bounded."""


class Writer:
    """Calls functions one after another, in the given order, in a thread of its own.

    The ``with`` block ends when all are done. The next ``submit``, or the end, raises the error of a function; later
    functions are then not called.

    Args:
        ahead: number of calls that may wait.
    """

    def __init__(self, ahead: int = AHEAD) -> None:
        self._ahead = ahead
        self._thread = ThreadPoolExecutor(1, "writing")
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def submit(self, function: Callable[..., Any], *args: Any) -> None:
        """Call ``function`` with ``args`` after the earlier calls; wait if too many calls are waiting."""
        while len(self._waiting) >= self._ahead or (self._waiting and self._waiting[0].done()):
            self._next()
        self._waiting.append(self._thread.submit(function, *args))

    def finish(self) -> None:
        """Wait until all is done."""
        while self._waiting:
            self._next()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _next(self) -> None:
        future = self._waiting.popleft()
        try:
            future.result()
        except BaseException:
            for other in self._waiting:
                other.cancel()
            self._waiting.clear()
            raise
