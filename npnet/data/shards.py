"""Shards: tar files of pairs, read one sample after another; ``sidecars`` reads their sidecars.

A shard may come from a stranger. Its members must be plain files with the names in ``schema``, and no member may be
larger than the tar. Nothing is unpickled. If there is a sidecar, its checksum is compared before the first sample is
read.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from npnet.data import schema
from npnet.data.checksums import changed, file_sha256, known_sha256
from npnet.data.sidecars import (
    PATTERN,
    Shard,
    TriedPair,
    list_shards,
    parse_sidecar,
    read_shard,
    shard_path,
    sidecar_path,
    stream_shards,
)
from npnet.errors import UserError, reworded
from npnet.records import NoisePair

__all__ = [
    "PATTERN",
    "Shard",
    "TriedPair",
    "file_sha256",
    "group_samples",
    "iterate_shard",
    "list_shards",
    "parse_sidecar",
    "read_pairs",
    "read_shard",
    "shard_path",
    "sidecar_path",
    "stream_shards",
]


def iterate_shard(path: Path, wanted: Container[int] | None = None, verify: bool = True) -> Iterator[dict[str, Any]]:
    """Stream the samples of a tar, in order, as webdataset groups them: ``__key__`` and member name -> bytes.

    Args:
        path: of the tar.
        wanted: places of the samples to read; of the others only ``__key__`` and the JSON are given. None: all.
        verify: compare the checksum; several who read the same tar share that work.

    Raises:
        UserError: the tar is missing, truncated, not the one that the sidecar beside it describes, holds what is not a
            pair, or other pairs than the sidecar lists.
    """
    path = Path(path)
    kinds = (OSError, tarfile.TarError, MemoryError)
    with reworded(kinds, UserError, f"{path}: cannot be read as a tar: "):
        _require_end(path)
        if verify:
            _require_checksum(path)
        listed = read_shard(path).written if sidecar_path(path).is_file() else None
        with tarfile.open(path, "r:") as tar:
            samples = group_samples(tar, str(path), path.stat().st_size, wanted)
            yield from samples if listed is None else as_listed(samples, listed, str(path))


def group_samples(
    tar: tarfile.TarFile, where: str, num_bytes: int | None = None, wanted: Container[int] | None = None
) -> Iterator[dict[str, Any]]:
    """Group the members of an open tar to samples.

    Args:
        tar: open for reading, without compression.
        where: names it in errors.
        num_bytes: its size, where it is known: no member can be larger.
        wanted: see ``iterate_shard``.

    Raises:
        UserError: a member is not of a pair, appears twice, or claims to be larger than the tar.
    """
    sample: dict[str, Any] = {}
    place = 0
    for member in tar:
        key, _, name = member.name.partition(".")
        # a sparse member is a few bytes that claim to be terabytes
        plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and member.sparse is None
        if not plain or not key or "/" in member.name or name not in schema.MEMBERS:
            raise UserError(f"{where}: member {member.name!r} is not of a pair")
        if num_bytes is not None and member.offset_data + member.size > num_bytes:
            raise tarfile.ReadError("it is truncated")
        if sample and sample[schema.KEY] != key:
            yield sample
            sample = {}
            place += 1
        if name in sample:
            raise UserError(f"{where}: member {member.name!r} appears twice")
        sample[schema.KEY] = key
        if wanted is not None and place not in wanted and name != schema.RECORD:
            continue
        file = tar.extractfile(member)
        assert file is not None  # of a plain file
        sample[name] = file.read()
    if sample:
        yield sample


def as_listed(samples: Iterator[dict[str, Any]], listed: Sequence[TriedPair], where: str) -> Iterator[dict[str, Any]]:
    """Pass on the samples of a tar as long as they are the pairs that its sidecar lists, in its order.

    Raises:
        UserError: a sample is another pair, or there are more or fewer.
    """
    count = 0
    for count, sample in enumerate(samples, start=1):
        if count <= len(listed) and not schema.agrees(sample, listed[count - 1]):
            raise another_pair(where, sample[schema.KEY])
        if count > len(listed):
            count += sum(1 for _ in samples)
            break
        yield sample
    require_count(where, count, listed)


def another_pair(where: str, key: str) -> UserError:
    """Build the error for a sample that its sidecar does not list in its place."""
    return UserError(f"{where}: sample {key} is not the pair that its sidecar lists in this place")


def require_count(where: str | Path, count: int, listed: Sequence[Any]) -> None:
    """Refuse a tar that holds more or fewer pairs than its sidecar lists.

    Raises:
        UserError: it does.
    """
    if count != len(listed):
        raise UserError(f"{where}: holds {count} pairs, its sidecar lists {len(listed)}")


def _require_end(path: Path) -> None:
    # tarfile takes a file that was cut inside a header for a shorter one; a whole tar ends with two empty blocks
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * tarfile.BLOCKSIZE))
        if size % tarfile.BLOCKSIZE or file.read() != bytes(2 * tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is truncated")


def _require_checksum(path: Path) -> None:
    if sidecar_path(path).is_file():
        digest = read_shard(path).sidecar["sha256"]
        if known_sha256(path) != digest:
            raise changed(path)


def read_pairs(folder: Path, kept_only: bool = True, embeds: bool = False) -> Iterator[NoisePair]:
    """Stream the pairs of a folder, in order.

    Args:
        folder: what ``collect.py`` left.
        kept_only: leave out the rejected pairs that ``keep_all=true`` wrote.
        embeds: read the prompt embeddings too, where the shards hold them.

    Raises:
        UserError: see ``list_shards``, ``iterate_shard`` and ``schema.decode``.
    """
    for shard in list_shards(folder):
        for sample in iterate_shard(Path(shard.path)):
            if not embeds:
                sample.pop(schema.EMBEDS, None)
            pair = schema.decode(sample, str(shard.path))
            if pair.kept or not kept_only:
                yield pair
