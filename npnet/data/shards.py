"""Shards: tar files of pairs, each with a sidecar that says it is done, what is in it, and its checksum.

``shard-000000.tar`` holds the written pairs of chunk 0, ``shard-000000.json`` the candidates of that chunk with their
scores, the rejected ones included. The sidecar is written last: a tar without one is unfinished.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.data import schema
from npnet.errors import UserError, one_line
from npnet.records import NoisePair

PATTERN = "shard-[0-9][0-9][0-9][0-9][0-9][0-9]"


@dataclass(frozen=True)
class Candidate:
    """One tried pair, as the sidecar lists it; ``reason`` says why it was rejected, and is empty for kept ones."""

    key: str
    prompt: str
    prompt_index: int
    seed: int
    scores: dict[str, tuple[float, float]]
    kept: bool
    reason: str = ""
    written: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the sidecar's entry."""
        return {**vars(self), "scores": schema.scores_to_json(self.scores)}

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> Candidate:
        """Read a sidecar's entry.

        Raises:
            ValueError, KeyError, TypeError: it is not one.
        """
        return Candidate(**{**entry, "scores": schema.scores_from_json(entry["scores"])})


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        path: of the tar.
        sidecar: the whole sidecar.
        tried: every candidate of the chunk, in order.
        request: the folder's request; empty where the shards came without one.
    """

    path: Path
    sidecar: dict[str, Any]
    tried: tuple[Candidate, ...]
    request: dict[str, Any] = field(default_factory=dict)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Return the candidates that are in the tar, in its order."""
        return tuple(candidate for candidate in self.tried if candidate.written)


def shard_path(folder: Path, chunk: int) -> Path:
    """Return the place of a chunk's tar."""
    return Path(folder) / f"shard-{chunk:06d}.tar"


def sidecar_path(path: Path) -> Path:
    """Return the place of a tar's sidecar."""
    return Path(path).with_suffix(".json")


def list_shards(folder: Path, verify: bool = False, complete: bool = True) -> list[Shard]:
    """List the finished shards of a folder, in order.

    Args:
        folder: what ``collect.py`` left.
        verify: compare each tar's SHA-256 with its sidecar, not its size alone.
        complete: refuse a folder whose collection is unfinished (its request says how many shards there will be).

    Raises:
        UserError: no such folder, no shards, a missing tar or sidecar, a changed tar, an unfinished collection.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of shards")
    tars = sorted(folder.glob(f"{PATTERN}.tar"))
    sidecars = sorted(folder.glob(f"{PATTERN}.json"))
    if not sidecars:
        raise UserError(f"{folder}: holds no finished shards (shard-000000.tar with shard-000000.json)")
    from npnet.work import request

    asked = request.read(folder) if (folder / request.NAME).is_file() else {}
    expected = int(asked.get("num_chunks", len(sidecars)))
    if complete:
        for path in tars:
            if not sidecar_path(path).is_file():
                raise UserError(f"{path}: its sidecar {sidecar_path(path).name} is missing, so it is not finished")
        if len(sidecars) < expected:
            numbers = {int(path.stem.removeprefix("shard-")) for path in sidecars}
            missing = next(n for n in range(expected) if n not in numbers)
            raise UserError(
                f"{shard_path(folder, missing)}: missing ({len(sidecars)} of {expected} shards are there); "
                "run the same collect command to finish it"
            )
    return [read_shard(path.with_suffix(".tar"), verify, asked) for path in sidecars]


def read_shard(path: Path, verify: bool = False, request: dict[str, Any] | None = None) -> Shard:
    """Read a tar's sidecar and check the tar against it.

    Raises:
        UserError: the tar is missing or changed, or the sidecar is not one.
    """
    place = sidecar_path(path)
    try:
        sidecar = json.loads(place.read_text(encoding="utf-8"))
        tried = tuple(Candidate.from_json(entry) for entry in sidecar["candidates"])
        size, digest = int(sidecar["num_bytes"]), str(sidecar["sha256"])
    except OSError as error:
        raise UserError(f"{place}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{place}: is not a shard's sidecar: {one_line(error)}") from error
    if not path.is_file():
        raise UserError(f"{path}: missing, though its sidecar is there")
    if path.stat().st_size != size or (verify and file_sha256(path) != digest):
        raise UserError(f"{path}: was changed after it was written (its size or checksum is not its sidecar's)")
    return Shard(path, sidecar, tried, request or {})


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def iterate_shard(path: Path) -> Iterator[dict[str, Any]]:
    """Stream the samples of a tar, in order, as webdataset groups them: ``__key__`` and member name -> bytes.

    Raises:
        UserError: the tar is missing, truncated or holds what is not a pair.
    """
    path = Path(path)
    sample: dict[str, Any] = {}
    try:
        _require_end(path)
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                file = tar.extractfile(member)
                if file is None or "/" in member.name or name not in schema.MEMBERS:
                    raise UserError(f"{path}: member {member.name!r} is not of a pair")
                if sample and sample[schema.KEY] != key:
                    yield sample
                    sample = {}
                sample[schema.KEY] = key
                sample[name] = file.read()
    except (OSError, tarfile.TarError) as error:
        raise UserError(f"{path}: cannot be read as a tar: {one_line(error)}") from error
    if sample:
        yield sample


def _require_end(path: Path) -> None:
    # tarfile takes a file that was cut inside a header for a shorter one; a whole tar ends with two empty blocks
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * tarfile.BLOCKSIZE))
        if size % tarfile.BLOCKSIZE or file.read() != bytes(2 * tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is truncated")


def read_pairs(folder: Path, kept_only: bool = True, embeds: bool = False) -> Iterator[NoisePair]:
    """Stream the pairs of a folder, in order.

    Args:
        folder: what ``collect.py`` left.
        kept_only: leave out the rejected pairs that ``keep_all=true`` wrote.
        embeds: read the prompt embeddings too, where the shards hold them.

    Raises:
        UserError: see ``list_shards``, ``iterate_shard`` and ``schema.decode``; a tar that holds other pairs than its
            sidecar lists.
    """
    for shard in list_shards(folder):
        count = 0
        for count, sample in enumerate(iterate_shard(shard.path), start=1):  # noqa: B007 - the last one counts them
            if not embeds:
                sample.pop(schema.EMBEDS, None)
            pair = schema.decode(sample, str(shard.path))
            if pair.kept or not kept_only:
                yield pair
        if count != len(shard.candidates):
            raise UserError(f"{shard.path}: holds {count} pairs, its sidecar lists {len(shard.candidates)}")
