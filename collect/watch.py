"""Messages of a running collection: the progress bar, and loggers (``logger=[csv,wandb]``)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from collect import history
from collect.settings import CollectSettings
from collect.survey import survey
from npnet.errors import UserError
from npnet.instantiate import build_all
from npnet.loggers import begin, check_logins

LOG_SECONDS = 10.0
"""Between two rows of the loggers."""


class Watch:
    """Makes the progress bar's text from the summed advances of a run, and hands the numbers on to loggers.

    A row holds ``tried`` and ``kept`` (pairs of this run), ``keep_rate`` and ``pairs_per_hour`` (tried); its step is
    the number of pairs tried by all runs into the folder.

    Args:
        loggers: Lightning's.
        before: pairs that earlier runs tried.
    """

    def __init__(self, loggers: Sequence[Any] = (), before: int = 0) -> None:
        self.loggers, self.before = list(loggers), before
        self._first: tuple[float, float] | None = None
        self._logged = 0.0
        self._row: dict[str, float] = {}

    @classmethod
    def of(cls, settings: CollectSettings) -> Watch:
        """Build the loggers of a collection; rows of earlier runs into the folder stay.

        Raises:
            UserError: a logger cannot be built, or cannot begin.
        """
        if not settings.logger:
            return cls()
        folder = settings.output_dir
        try:
            before = survey(folder).num_tried
        except UserError:  # nothing there yet
            before = 0
        # what the loggers warn of is not the user's: a folder that is not empty, a version that is old
        warnings.filterwarnings("ignore", module="lightning")
        check_logins(settings.logger)
        loggers = build_all(settings.logger, "logger")
        begin(loggers)
        for logger in loggers.values():
            if type(logger).__name__ == "CSVLogger":
                history.set_aside(folder)
                history.bring_back(folder, logger, before + 1)
        return cls(list(loggers.values()), before)

    def __call__(self, values: Mapping[str, float]) -> str:
        """Return the text: pairs kept and the keep rate; the bar itself says pairs per hour and the remaining time."""
        now = time.monotonic()
        tried, kept = values["tried"], values["kept"]
        if self._first is None:
            self._first = now, tried
        seconds, count = now - self._first[0], tried - self._first[1]
        self._row = {"tried": tried, "kept": kept, "keep_rate": kept / tried}
        if seconds > 0 and count > 0:
            self._row["pairs_per_hour"] = 3600 * count / seconds
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            self._log()
        return f"kept {kept:,.0f} ({kept / tried:.0%})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log()
        for logger in self.loggers:
            logger.finalize("success" if kind is None else "failed")

    def _log(self) -> None:
        if not self._row:
            return
        for logger in self.loggers:
            logger.log_metrics(self._row, step=self.before + int(self._row["tried"]))
            logger.save()
