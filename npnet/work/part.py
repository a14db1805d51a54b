"""Which chunks a command computes: all of them, or those of one worker of a job array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from npnet import checks
from npnet.errors import UserError


@dataclass(frozen=True)
class Part:
    """Every ``count``-th chunk, beginning with number ``index``; by default all of them."""

    index: int = 0
    count: int = 1

    def chunks(self, num_chunks: int) -> range:
        """Return the numbers of its chunks."""
        return range(self.index, num_chunks, self.count)

    @property
    def is_whole(self) -> bool:
        """Say whether these are all chunks."""
        return self.count == 1

    def __str__(self) -> str:
        """Return the beginning of a message: nothing where these are all chunks."""
        return "" if self.is_whole else f"worker {self.index} of {self.count}: "


WHOLE = Part()


def part_of(config: Mapping[str, Any]) -> Part:
    """Read ``worker.index`` and ``worker.count``; without them a command computes everything.

    Raises:
        UserError: one of them is missing, or the index is not among 0 to count - 1.
    """
    worker = config.get("worker")
    if worker is None:
        return WHOLE
    if not isinstance(worker, Mapping):
        raise UserError(f"worker={worker}: worker.index and worker.count are needed")
    given = {key: worker.get(key) for key in ("index", "count")}
    if all(value is None for value in given.values()):
        return WHOLE
    for key, value in given.items():
        if value is None:
            raise UserError(f"worker.{key}: is needed too; a job array gives worker.index=0 to N-1 and worker.count=N")
    count = checks.positive_int(config, "worker.count")
    index = checks.whole_number(config, "worker.index")
    if index >= count:
        raise UserError(f"worker.index={index}: with worker.count={count}, allowed are 0 to {count - 1}")
    return Part(index, count)
