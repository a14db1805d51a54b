"""``engine=processes``: the workers are processes on this machine, each with its own GPU if there are enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from npnet.work.job import Engine


@dataclass(frozen=True)
class Processes(Engine):
    """Computes in this process with one worker, in several processes with more; see ``npnet.work.pool``."""

    compute: ClassVar[str] = "npnet.work.pool:compute"
