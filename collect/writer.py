"""A chunk on disk: its shard, and then the sidecar that marks it as done.

Neither holds a time, a host or a process: the same request gives the same bytes.
"""

from __future__ import annotations

import platform
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import webdataset
from torch import Tensor

import npnet
from npnet.data import schema
from npnet.data.sidecars import CHECKSUM, TriedPair, checksum, read_shard, sidecar_path
from npnet.errors import UserError
from npnet.records import NoisePair
from npnet.work import atomic


class ShardWriter:
    """A shard that is being written; it appears, complete, when the ``with`` block ends."""

    def __init__(self, path: Path) -> None:
        self.file = atomic.AtomicFile(path)
        self._tar: Any = None  # written only inside the block

    def __enter__(self) -> Self:
        self.file.__enter__()
        # encoder off: every member is bytes already; mtime 0 and sorted members: equal samples are equal bytes
        self._tar = webdataset.TarWriter(self.file, mtime=0, encoder=False, compress=False)
        return self

    def add(self, pair: NoisePair, prompt_index: int, images: tuple[Tensor, Tensor] | None = None) -> None:
        """Append a pair; see ``schema.encode``."""
        self.copy(schema.encode(pair, prompt_index, images))

    def copy(self, sample: Mapping[str, Any]) -> None:
        """Append a sample as ``schema`` writes it: the key, and member name -> bytes."""
        self._tar.write(dict(sample))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._tar.close()
        except BaseException as failure:
            self.file.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self.file.__exit__(kind, error, trace)


def is_finished(path: Path, request_sha256: str) -> bool:
    """Say whether a shard and its sidecar are there; a shard that is gone is made again.

    Raises:
        UserError: the shard was changed, or is another collection's.
    """
    if not sidecar_path(path).is_file() or not path.is_file():
        return False
    if read_shard(path, verify=True).sidecar.get("request_sha256") != request_sha256:
        raise UserError(f"{sidecar_path(path)}: belongs to another collection than the request.json beside it")
    return True


def write_sidecar(path: Path, writer: ShardWriter, tried: Sequence[TriedPair], facts: dict[str, Any]) -> None:
    """Write the sidecar of the finished shard at ``path``, the last act of a chunk.

    Args:
        path: of the shard.
        writer: that wrote it.
        tried: every tried pair, in order.
        facts: what else is recorded: the cost, the request's digest, the device.
    """
    reasons = Counter(pair.reason for pair in tried if not pair.kept)
    sidecar = {
        "shard": path.name,
        "num_bytes": writer.file.num_bytes,
        "sha256": writer.file.sha256,
        "num_tried": len(tried),
        "num_kept": sum(pair.kept for pair in tried),
        "num_written": sum(pair.written for pair in tried),
        "rejected": dict(reasons),
        "scores": summarise(tried),
        "candidates": [pair.to_json() for pair in tried],
        "versions": versions(),
        **facts,
    }
    atomic.write_json(sidecar_path(path), {**sidecar, CHECKSUM: checksum(sidecar)})


def summarise(tried: Sequence[TriedPair]) -> dict[str, dict[str, float | int | None]]:
    """Return for each metric, over the pairs whose scores are finite: count, mean of each side, mean gain."""
    table: dict[str, dict[str, float | int | None]] = {}
    for metric in tried[0].scores if tried else ():
        pairs = [pair.scores[metric] for pair in tried]
        finite = [(source, golden) for source, golden in pairs if abs(source) + abs(golden) < float("inf")]
        table[metric] = {
            "count": len(finite),
            "source_mean": _mean([source for source, _ in finite]),
            "golden_mean": _mean([golden for _, golden in finite]),
            "gain_mean": _mean([golden - source for source, golden in finite]),
        }
    return table


def versions() -> dict[str, str]:
    """Return the versions that can change the numbers."""
    return {
        "npnet": npnet.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": metadata.version("diffusers"),
    }


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None
