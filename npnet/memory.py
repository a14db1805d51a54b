"""Work on a batch in pieces that fit: halved where the device ran out of memory, and no other work done twice.

Every stage of the way from noise to scores (prompts, method, sampling, decoding, scoring) has a ``Limit`` of its own,
so that a stage that does not fit is the only one that is computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from npnet.errors import UserError

T = TypeVar("T")

SMALLER = "smaller pictures (backbone.height, backbone.width) or backbone.dtype=float16 help"
"""What helps where one sample does not fit."""


class Limit:
    """How many samples a stage can hold at once; learnt where it ran out of memory, and kept from then on.

    Args:
        what: the stage with a single sample, for the message: ``denoising a single pair``.
        help: what a person can do about it; names the key.
        most: samples at once; None until the device could not hold so many.
    """

    def __init__(self, what: str, help: str, most: int | None = None) -> None:
        self.what, self.help, self.most = what, help, most
        self.smallest: int | None = None
        """The smallest piece since ``start`` where a batch had to be divided; None where none had."""

    def start(self) -> None:
        """Forget the smallest piece; ``most`` stays."""
        self.smallest = None

    def pieces(
        self,
        count: int,
        compute: Callable[[slice], T],
        make_room: Callable[[], bool] | None = None,
        learns: bool = True,
    ) -> Iterator[T]:
        """Compute the rows 0 to ``count`` in order, in as few pieces as fit.

        Args:
            count: rows of the batch.
            compute: makes the result of some of them; it may be called again for half of them.
            make_room: frees memory that something else holds, and says whether there was any: the same piece is then
                tried again before it is halved.
            learns: halve what does not fit; otherwise ``torch.OutOfMemoryError`` goes to the caller.

        Raises:
            UserError: not even one row fits.
        """
        waiting = [slice(0, count)]
        while waiting:
            rows = waiting.pop(0)
            size = rows.stop - rows.start
            if self.most is None or size <= self.most:
                failure = None
                try:
                    result = compute(rows)
                except torch.OutOfMemoryError as error:
                    if not learns:
                        raise
                    # the traceback holds the tensors of the failed attempt
                    failure = error.with_traceback(None)
                if failure is None:
                    if size < count:
                        self.smallest = min(self.smallest or size, size)
                    yield result
                    continue
                torch.cuda.empty_cache()
                if make_room is not None and make_room():
                    waiting.insert(0, rows)
                    continue
                if size == 1:
                    raise UserError(f"out of memory with a single {self.what}; {self.help}") from failure
                self.most = size // 2
            middle = rows.start + size // 2
            waiting[:0] = [slice(rows.start, middle), slice(middle, rows.stop)]
