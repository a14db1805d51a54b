"""The content of a folder of shards, finished or not, counted from its sidecars, without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.data.sidecars import (
    Shard,
    TriedPair,
    list_sidecars,
    num_chunks,
    read_request,
    read_shard,
    sidecar_path,
)
from npnet.errors import UserError
from npnet.work import request as requests


@dataclass(frozen=True)
class Survey:
    """A folder of shards as it is now.

    Attributes:
        folder: the folder.
        request: its request; empty where the shards came without one.
        num_chunks: how many shards there will be.
        shards: those that are finished and whole, in order.
        broken: what is wrong with the others that are finished, a line each.
    """

    folder: Path
    request: dict[str, Any]
    num_chunks: int
    shards: list[Shard] = field(repr=False)
    broken: list[str]

    @property
    def is_finished(self) -> bool:
        """Say whether every shard is there and whole."""
        return len(self.shards) == self.num_chunks and not self.broken

    def pairs(self) -> Iterator[TriedPair]:
        """Return every pair that was tried, in order."""
        for shard in self.shards:
            yield from shard.tried

    @property
    def num_tried(self) -> int:
        """Return how many pairs were tried."""
        return sum(len(shard.tried) for shard in self.shards)

    @property
    def num_kept(self) -> int:
        """Return how many pairs were kept."""
        return sum(candidate.kept for candidate in self.pairs())

    @property
    def num_written(self) -> int:
        """Return how many pairs the tars hold."""
        return sum(candidate.written for candidate in self.pairs())

    @property
    def rejected(self) -> dict[str, int]:
        """Return how many pairs were rejected for each reason."""
        return dict(sorted(Counter(c.reason for c in self.pairs() if not c.kept).items()))

    @property
    def num_bytes(self) -> int:
        """Return the bytes of the tars."""
        return sum(int(shard.sidecar["num_bytes"]) for shard in self.shards)

    @property
    def metrics(self) -> list[str]:
        """Return the metrics that scored the pairs."""
        return list(next((candidate.scores for candidate in self.pairs()), {}))

    def gains(self, metric: str) -> list[tuple[float, bool]]:
        """Return golden - source and whether it was kept, for each pair whose two scores are finite."""
        gains = []
        for candidate in self.pairs():
            source, golden = candidate.scores.get(metric, (math.nan, math.nan))
            if math.isfinite(golden - source):
                gains.append((golden - source, candidate.kept))
        return gains


def survey(folder: Path, verify: bool = False) -> Survey:
    """Read the sidecars of a folder.

    Args:
        folder: what ``collect.py``, ``collect.filter`` or ``collect.convert`` left, or is filling now.
        verify: compare each tar's SHA-256 with its sidecar, not its size alone.

    Raises:
        UserError: there is no such folder, it is none of shards, or its shards are of two collections.
    """
    sidecars = list_sidecars(folder)
    asked = read_request(folder)
    if not sidecars and "num_chunks" not in asked:
        raise UserError(f"{folder}: holds no shards, and no request.json of a collection")
    shards, broken = [], []
    for path in sidecars:
        try:
            shards.append(read_shard(path.with_suffix(".tar"), verify))
        except UserError as error:
            broken.append(str(error))
    expected = requests.digest(asked) if asked else None
    for shard in shards:
        of = shard.sidecar.get("request_sha256")
        expected = expected or of
        if of != expected:
            first, where = "request.json" if asked else "the first shard", sidecar_path(Path(shard.path))
            raise UserError(f"{where}: belongs to another collection than {first} beside it")
    return Survey(folder, asked, num_chunks(folder, asked, len(sidecars)), shards, broken)
