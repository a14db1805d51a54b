"""Filling a folder with shards: the common part of ``collect``, ``filter`` and ``convert``.

Each of them is a job of ``npnet.work`` whose chunk i becomes shard i: first the tar, then the sidecar that marks it as
done. The same command resumes a killed job. The bytes do not depend on the number of workers.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from collect.finish import finish
from collect.summary import print_summary
from collect.survey import Survey, survey
from collect.writer import ShardWriter, is_finished, write_sidecar
from npnet.data.sidecars import TriedPair, shard_path
from npnet.work import lock
from npnet.work.job import Advance, Workers, run_job
from npnet.work.request import digest


class ShardJob(ABC):
    """The ``npnet.work.job.Job`` of a folder of shards; plain data until ``setup``.

    Args:
        output_dir: the folder.
        request: of the folder.
        sizes: how many pairs each chunk tries.
    """

    def __init__(self, output_dir: Path, request: dict[str, Any], sizes: Sequence[int]) -> None:
        self.output_dir, self.request, self.sizes = Path(output_dir), request, list(sizes)
        self.request_sha256 = digest(request)
        self.num_chunks = len(self.sizes)

    def num_samples(self, chunk: int) -> int:
        """Return how many pairs the chunk tries."""
        return self.sizes[chunk]

    def is_done(self, chunk: int) -> bool:
        """Say whether the chunk's shard and sidecar are there; a shard that is gone is made again.

        Raises:
            UserError: the shard was changed, or is another collection's.
        """
        return is_finished(shard_path(self.output_dir, chunk), self.request_sha256)

    def setup(self, worker: int, device: str) -> None:
        """Load what computing needs; see ``Job.setup``."""

    def run(self, chunk: int, advance: Callable[[Advance], None]) -> None:
        """Write the shard, then the sidecar."""
        path = shard_path(self.output_dir, chunk)
        with ShardWriter(path) as writer:
            tried, facts = self.fill(chunk, writer, advance)
        facts = {**facts, "request": self.request, "request_sha256": self.request_sha256}
        write_sidecar(path, writer, tried, facts)

    @abstractmethod
    def fill(
        self, chunk: int, writer: ShardWriter, advance: Callable[[Advance], None]
    ) -> tuple[list[TriedPair], dict[str, Any]]:
        """Write the pairs of a chunk.

        Args:
            chunk: its number.
            writer: of the shard.
            advance: told along the way.

        Returns:
            Every tried pair, in order, and what else the sidecar records.
        """


def fill_folder(
    job: ShardJob,
    workers: Workers,
    *,
    title: str,
    card: bool,
    license: str | None = None,
    describe: Callable[[dict[str, float]], str] = lambda values: "",
) -> Survey | None:
    """Compute what is missing of a folder, whose lock the caller holds, and say what is there; see ``run_job``.

    Returns:
        The folder as it is; None where other workers of a job array are still to come.
    """
    started = time.monotonic()
    computed = run_job(job, workers, title=title, describe=describe)
    found = survey(job.output_dir)
    if not computed:
        what = "finished already" if found.is_finished else "no chunk is left for this worker"
        print(f"{workers.share}{what}: nothing to do")
    if not workers.share.is_whole and not found.is_finished:
        print(f"{workers.share}done; {len(found.shards)} of {job.num_chunks} shards are there")
        return None
    if card:
        finish(found, license)
    print_summary(found, time.monotonic() - started if computed else None)
    return found


def hold(job: ShardJob, workers: Workers) -> Any:
    """Hold the job's folder for these workers; see ``npnet.work.lock.hold``."""
    return lock.hold(job.output_dir, job.request, workers.share)
