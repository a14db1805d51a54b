"""The chunks that a command computes: all, or those of one worker of a job array."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.errors import FieldError
from npnet.fields import Count, Whole, check_fields


@dataclass(frozen=True)
class Share:
    """Every ``count``-th chunk, beginning with number ``index``; by default all of them."""

    index: int = 0
    count: int = 1

    def chunks(self, num_chunks: int) -> range:
        """Return the numbers of its chunks."""
        return range(self.index, num_chunks, self.count)

    def number(self, num_samples: int, chunk_size: int) -> int:
        """Return how many samples its chunks hold."""
        chunks = self.chunks(-(-num_samples // chunk_size))
        return sum(min(chunk_size, num_samples - chunk * chunk_size) for chunk in chunks)

    @property
    def is_whole(self) -> bool:
        """Say whether these are all chunks."""
        return self.count == 1

    def __str__(self) -> str:
        """Return the beginning of a message: nothing where these are all chunks."""
        return "" if self.is_whole else f"worker {self.index} of {self.count}: "


WHOLE = Share()


@dataclass(frozen=True)
class ArrayWorker:
    """The keys ``worker.index`` and ``worker.count``; without them a command computes everything.

    Raises:
        FieldError: one of them is missing, or the index is not among 0 to count - 1.
    """

    index: Whole | None = None
    count: Count | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value, other in (("index", self.index, self.count), ("count", self.count, self.index)):
            if value is None and other is not None:
                needed = "is needed too; a job array gives worker.index=0 to N-1 and worker.count=N"
                raise FieldError(name, None, needed)
        if self.index is not None and self.count is not None and self.index >= self.count:
            raise FieldError("index", self.index, f"with worker.count={self.count}, allowed: 0 to {self.count - 1}")

    @property
    def share(self) -> Share:
        """Return the chunks of this worker."""
        return WHOLE if self.index is None or self.count is None else Share(self.index, self.count)
