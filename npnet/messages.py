"""What the library says while it works: the loggers ``npnet`` and ``collect``, as plain lines where a command runs.

Below the commands nothing prints. Whoever uses the library sees its messages by the means of ``logging``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("npnet", "collect")


class _Plain(logging.Handler):
    """Print a message to standard output as it is, whatever that stream is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the line."""
        print(self.format(record), flush=True)


@contextmanager
def plain_messages(level: int = logging.INFO) -> Iterator[None]:
    """Print the library's messages from ``level`` on for as long as the block lasts."""
    handler = _Plain()
    before = []
    for name in NAMES:
        logger = logging.getLogger(name)
        before.append((logger, logger.level, logger.propagate))
        logger.setLevel(level)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, old_level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(old_level)
            logger.propagate = propagate
