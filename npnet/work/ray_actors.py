"""``engine=ray``: the workers are Ray actors, on one machine or many; a lost one is replaced, its chunk repeated."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import ClassVar

from npnet.errors import UserError
from npnet.fields import Name, Whole
from npnet.work.job import Engine


@dataclass(frozen=True)
class RayActors(Engine):
    """Computes on a Ray cluster; see ``npnet.work.ray_crew``.

    Attributes:
        address: of a Ray cluster: ``auto`` finds the one this machine is part of, ``HOST:PORT`` another one; null takes
            what the environment's ``RAY_ADDRESS`` names, or else this machine alone.
        retries: how often a chunk is tried again whose worker was lost, before the run ends.
    """

    compute: ClassVar[str] = "npnet.work.ray_crew:compute"

    address: Name | None = None
    retries: Whole = 3

    def check(self) -> None:
        """Refuse to start without Ray."""
        if importlib.util.find_spec("ray") is None:
            raise UserError("engine=ray: Ray is not installed; the extra has it: pip install 'npnet-lightning[ray]'")
