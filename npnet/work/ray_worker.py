"""The worker of ``engine=ray``, which runs in an actor on any machine of the cluster."""

from __future__ import annotations

import os
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from npnet.errors import UserError, reworded
from npnet.work.job import Advance, Job
from npnet.work.numerics import Numerics
from npnet.work.torch_settings import torch_settings


class RayWorker:
    """A worker; ``setup`` and ``run`` return a kind with its content.

    These are ("done", what was told of the chunk), ("user error", message) or ("error", traceback).
    """

    def __init__(self, number: int, job: Job, numerics: Numerics, device: str, folder: str) -> None:
        self.number, self.job, self.numerics, self.device, self.folder = number, job, numerics, device, folder
        self.lock = threading.Lock()
        self.chunk: int | None = None
        self.total = Advance(0)

    def setup(self) -> tuple[str, Any]:
        """Go to the job's folder and load what it needs."""
        return self._do(self._setup)

    def run(self, chunk: int) -> tuple[str, Any]:
        """Compute a chunk."""
        with self.lock:
            self.chunk, self.total = chunk, Advance(0)
        return self._do(lambda: self.job.run(chunk, self._add))

    def reported(self) -> tuple[int | None, Advance]:
        """Return the chunk that is computed, and how far it is."""
        with self.lock:
            return self.chunk, self.total

    def _setup(self) -> None:
        where = f"engine=ray: {self.folder} is not on {socket.gethostname()} ("
        with reworded(OSError, UserError, where, "); the project must be at the same path on every machine"):
            os.chdir(self.folder)  # relative paths mean the same everywhere
        self.job.setup(self.number, self.device)

    def _do(self, function: Callable[[], None]) -> tuple[str, Any]:
        try:
            with torch_settings(self.numerics, self.device):  # at every call: threads have their own settings
                function()
        except UserError as error:
            return "user error", str(error)
        except Exception:
            return "error", traceback.format_exc()
        return "done", self.reported()[1]

    def _add(self, advance: Advance) -> None:
        with self.lock:
            values = Counter(self.total.values)
            values.update(advance.values)
            self.total = Advance(self.total.done + advance.done, dict(values))
