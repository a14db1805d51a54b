"""The progress of a job: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from npnet.text import visible

log = logging.getLogger(__name__)

LINE_SECONDS = 10.0
"""Between two plain lines."""


class _Advance(Protocol):
    @property
    def done(self) -> int: ...

    @property
    def values(self) -> Mapping[str, float]: ...


class Progress:
    """Count, rate, remaining time and a text made from the summed values of the advances.

    The bar is drawn on standard error when that is a terminal. Otherwise plain lines go to the log, which a command
    prints to standard output, so that standard error has only errors.

    Args:
        title: what is being done.
        describe: makes the text from the summed values, when there are some.
        finished: samples that earlier runs computed; they count, but not towards the rate.
        total: all samples.
    """

    def __init__(self, title: str, describe: Callable[[dict[str, float]], str], finished: int, total: int) -> None:
        self.title, self.describe, self.total = title, describe, total
        self.finished, self.done = finished, 0
        self.values: Counter[str] = Counter()
        self._started = self._last_line = time.monotonic()
        self._begun = False
        self._bar: Any = None
        self._task: Any = None

    def begin(self) -> None:
        """Start the clock of the rate, after the models are loaded. Later calls have no effect."""
        if not self._begun:
            self._begun, self._started = True, time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = _make_bar()
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.finished, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, advance: _Advance) -> None:
        """Count what a worker has done."""
        self.done += advance.done
        self.values.update(advance.values)
        text = self.text()  # also where no bar is drawn: ``describe`` may hand the numbers on
        if self._bar is not None:
            self._bar.update(self._task, completed=self.finished + self.done, text=text)
        self.tick()

    def say(self, line: str) -> None:
        """Print a line that stays, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(visible(line))
        else:
            log.info(visible(line))

    def tick(self) -> None:
        """Print a plain line when it is time for one."""
        now = time.monotonic()
        if self._bar is None and now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            log.info(self.line())

    def text(self) -> str:
        """Return the rate, the remaining time and the description."""
        parts = []
        seconds = time.monotonic() - self._started
        if self.done and seconds > 0:
            rate = self.done / seconds
            left = (self.total - self.finished - self.done) / rate
            parts = [f"{3600 * rate:,.0f}/h" if rate > 0.01 else f"{3600 * rate:.3g}/h", f"{duration(left)} left"]
        if self.values:
            parts.append(self.describe(dict(self.values)))
        return visible(", ".join(part for part in parts if part))

    def line(self) -> str:
        """Return the plain line."""
        if not self._begun:
            return f"{self.title}: loading"
        text = self.text()
        return f"{self.title}: {self.finished + self.done} of {self.total}" + (f", {text}" if text else "")


def duration(seconds: float) -> str:
    """Return a duration in words a person reads: ``42 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, size, next_unit, next_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s"


def _make_bar() -> Any:
    # takes 0.1 s, which only a terminal needs
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=Console(stderr=True, markup=False, emoji=False, highlight=False),
    )
