"""The remarks of diffusers and transformers while they load: they initialise missing weights, and only remark on it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

NAMES = ("diffusers", "transformers")
IN_REPORT = re.compile(r"^(?:\x1b\[[0-9;]*m)*(\S+)\s*\|\s*(?:\x1b\[[0-9;]*m)*(MISSING|MISMATCH)\b", re.MULTILINE)
"""A row of transformers' report."""
MADE_UP = re.compile(r"are newly initialized[^\[]*\['([^']*)'")
"""Diffusers' words."""


class Remarks(logging.Handler):
    """Collects the libraries' remarks, and finds in them which weights are missing."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take down a remark."""
        self.records.append(record)

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Collect the remarks in the block, even where the user has silenced the libraries."""
        loggers = [logging.getLogger(name) for name in NAMES]
        before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
        for logger in loggers:
            logger.handlers[:], logger.propagate = [self], False
            logger.setLevel(min(logger.level, logging.WARNING))
        try:
            yield
        finally:
            for logger, level, handlers, propagate in before:
                logger.handlers[:], logger.propagate = handlers, propagate
                logger.setLevel(level)

    def repeat(self) -> None:
        """Show the collected remarks."""
        for record in self.records:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)

    def fault(self) -> str | None:
        """Return a weight that the files lack; None where they hold all."""
        for text in (record.getMessage() for record in self.records):
            if found := IN_REPORT.search(text) or MADE_UP.search(text):
                what = "of another shape" if found.groups()[-1] == "MISMATCH" else "missing"
                return f"its weights do not fit the model: {found[1]} is {what}"
        return None
