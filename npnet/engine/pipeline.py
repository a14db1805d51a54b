"""Run batches through the stages; on a GPU, one batch is scored while the next one is denoised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from npnet.engine.batches import Denoised, Scored, Task
from npnet.engine.denoising import Denoising
from npnet.engine.scoring import Scoring


class Pipeline:
    """Runs tasks in order. Overlapping does not change their values.

    Scoring has its own thread and, on a GPU, its own stream. A stream alone is not enough, because metrics wait for
    their results, and the denoiser must not wait with them. Each thread has its own cuBLAS handles, so the sums are the
    same as without overlap.

    Args:
        denoising: makes the latents.
        scoring: makes pictures and scores of them.
        overlaps: score a batch while the next one is denoised. The default is True on a GPU; on a CPU both would use
            the same cores.
    """

    def __init__(self, denoising: Denoising, scoring: Scoring, overlaps: bool | None = None) -> None:
        self.denoising, self.scoring, self.device = denoising, scoring, denoising.backbone.device
        self.overlaps = self.device.type == "cuda" if overlaps is None else overlaps
        """Off, for good, once a batch did not fit beside another."""
        self._stream: torch.cuda.Stream | None = None
        self._waiting: tuple[Denoised, Future[Scored]] | None = None
        self._settled: list[Scored] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[Scored]:
        """Denoise, decode and score each task. A divided batch has one result for each piece.

        Raises:
            UserError: not even one sample fits the device.
        """
        with ThreadPoolExecutor(1, "scoring") as thread:
            for task in tasks:
                # a method with scorers decodes and scores itself, and two threads must not use one metric
                if task.method.scorers or task.alone:
                    self._settle()
                for denoised in self.denoising.denoise(task, self._make_room):
                    self._settle()
                    if self.overlaps and not task.alone:
                        future = thread.submit(self.scoring.finish, denoised, self._second_stream(), learns=False)
                        self._waiting = denoised, future
                    else:
                        self._settled.append(self.scoring.finish(denoised))
                    yield from self._taken()
            self._settle()
            yield from self._taken()

    def _make_room(self) -> bool:
        """Wait for a batch that is being scored, and say whether there was one."""
        if self._waiting is None:
            return False
        self.overlaps = False
        self._settle()
        return True

    def _settle(self) -> None:
        """Wait for the batch that is being scored; if it did not fit beside the denoising, decode it again alone."""
        if self._waiting is None:
            return
        (denoised, future), self._waiting = self._waiting, None
        try:
            self._settled.append(future.result())
            return
        except torch.OutOfMemoryError:
            self.overlaps = False
        torch.cuda.empty_cache()
        self._settled.append(self.scoring.finish(denoised))

    def _taken(self) -> list[Scored]:
        taken, self._settled = self._settled, []
        return taken

    def _second_stream(self) -> torch.cuda.Stream | None:
        if self._stream is None and self.device.type == "cuda":
            self._stream = torch.cuda.Stream(self.device)
        return self._stream
