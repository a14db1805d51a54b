"""The sidecars of a folder of shards, read without the pairs and without torch.

``shard-000000.tar`` holds the written pairs of chunk 0. ``shard-000000.json``, its *sidecar*, lists all tried pairs of
the chunk with their scores, rejected ones too, and the checksum of the tar. The sidecar is written last, so a tar
without one is unfinished.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from npnet.data.checksums import CHECKSUM, changed, checksum, known_sha256
from npnet.errors import UserError, reworded
from npnet.fields import Count, Name, Whole, checked
from npnet.untrusted import parse_json
from npnet.work import request as requests

PATTERN = "shard-[0-9][0-9][0-9][0-9][0-9][0-9]"


@dataclass(frozen=True)
class TriedPair:
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
        return {**vars(self), "scores": scores_to_json(self.scores)}

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> TriedPair:
        """Read a sidecar's entry.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is not one.
        """
        candidate = TriedPair(**{**entry, "scores": scores_from_json(entry["scores"])})
        for name, kind in _KINDS.items():
            checked(kind, getattr(candidate, name), name)
        return candidate


_KINDS = {"key": str, "prompt": str, "prompt_index": int, "seed": int, "kept": bool, "reason": str, "written": bool}


_NEEDED = ("num_bytes", "sha256")
_FACTS: dict[str, Any] = {
    "num_bytes": Whole,
    "sha256": Name,
    CHECKSUM: Name,
    "request": Mapping[str, Any],
    "request_sha256": Name,
    "cost": Mapping[str, Whole],
    "forwards_per_pair": float,
    "device": str,
    "smallest_batch": Count | None,
    "notes": Mapping[str, tuple[str, ...]],
    "versions": Mapping[str, str],
}
"""What a sidecar may say of a shard besides its pairs, and of which kind each is."""


def scores_to_json(scores: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, float | None]]:
    """Name both sides of each metric's scores; JSON has no NaN, so a score that is not finite becomes null."""
    return {
        metric: {side: value if math.isfinite(value) else None for side, value in zip(("source", "golden"), pair)}  # noqa: B905
        for metric, pair in scores.items()
    }


_REQUEST: dict[str, Any] = {
    "num_samples": Whole,
    "selected_by": tuple[str, ...],
    "prompt_counts": Mapping[str, int],
    "backbone": Mapping[str, Any],
    "noise": Mapping[str, Any],
    "filtered_from": Mapping[str, Any],
    "converted_from": Mapping[str, Any],
}


def scores_from_json(scores: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Read ``scores_to_json`` back; null becomes NaN."""

    def number(value: Any) -> float:
        return math.nan if value is None else checked(float, value, "scores")

    return {str(metric): (number(sides["source"]), number(sides["golden"])) for metric, sides in scores.items()}


@dataclass(frozen=True)
class Shard:
    """A finished shard.

    Attributes:
        path: of the tar; a text where it is an address.
        sidecar: the whole sidecar.
        tried: every pair of the chunk, in order.
        request: the folder's request; empty where the shards came without one.
    """

    path: Path | str
    sidecar: dict[str, Any]
    tried: tuple[TriedPair, ...]
    request: dict[str, Any] = field(default_factory=dict)

    @property
    def written(self) -> tuple[TriedPair, ...]:
        """Return the pairs that are in the tar, in its order."""
        return tuple(candidate for candidate in self.tried if candidate.written)


def shard_path(folder: Path, chunk: int) -> Path:
    """Return the place of a chunk's tar."""
    return Path(folder) / f"shard-{chunk:06d}.tar"


def sidecar_path(path: Path) -> Path:
    """Return the place of a tar's sidecar."""
    return Path(path).with_suffix(".json")


def list_shards(folder: Path, verify: bool = False, complete: bool = True) -> list[Shard]:
    """List the finished shards of a folder, in order; see ``stream_shards``."""
    return list(stream_shards(folder, verify, complete))


def stream_shards(folder: Path, verify: bool = False, complete: bool = True) -> Iterator[Shard]:
    """Read the finished shards of a folder one after another, so that one sidecar is held at a time.

    Args:
        folder: what ``collect.py`` left.
        verify: compare each tar's SHA-256 with its sidecar, not its size alone.
        complete: refuse a folder whose collection is unfinished (its request says how many shards there will be).

    Raises:
        UserError: no such folder, no shards, a missing tar or sidecar, a changed tar, an unfinished collection.
    """
    folder = Path(folder)
    sidecars = list_sidecars(folder)
    tars = sorted(folder.glob(f"{PATTERN}.tar"))
    if not sidecars:
        raise UserError(f"{folder}: holds no finished shards (a shard is shard-000000.tar with shard-000000.json)")
    asked = read_request(folder)
    expected = num_chunks(folder, asked, len(sidecars))
    if complete:
        for path in tars:
            if not sidecar_path(path).is_file():
                raise UserError(f"{path}: its sidecar {sidecar_path(path).name} is missing, so it is not finished")
        if len(sidecars) < expected:
            numbers = {int(path.stem.removeprefix("shard-")) for path in sidecars}
            missing = next(n for n in range(expected) if n not in numbers)
            place, there = shard_path(folder, missing), f"{len(sidecars)} of {expected} shards are there"
            raise UserError(f"{place}: missing ({there}); run the same collect command to finish it")
    for path in sidecars:
        yield read_shard(path.with_suffix(".tar"), verify, asked)


def list_sidecars(folder: Path) -> list[Path]:
    """Return the sidecars in a folder of shards, in order.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of shards")
    return sorted(folder.glob(f"{PATTERN}.json"))


def read_request(folder: Path) -> dict[str, Any]:
    """Return the request of a folder of shards; empty where the shards came without one.

    Raises:
        UserError: it is not the request of a collection.
    """
    if not (folder / requests.NAME).is_file():
        return {}
    asked = requests.read(folder)
    with reworded(UserError, UserError, f"{folder / requests.NAME}: is not the request of a collection (", ")"):
        for name, annotation in _REQUEST.items():
            if asked.get(name) is not None:
                checked(annotation, asked[name], name)
    return asked


def num_chunks(folder: Path, request: Mapping[str, Any], default: int) -> int:
    """Return how many shards the folder's request promises; ``default`` where there is no request.

    Raises:
        UserError: the request is not one of a collection.
    """
    with reworded(UserError, UserError, f"{folder / requests.NAME}: is not the request of a collection (", ")"):
        return checked(Whole, request.get("num_chunks", default), "num_chunks")


def read_shard(path: Path, verify: bool = False, request: dict[str, Any] | None = None) -> Shard:
    """Read a tar's sidecar and check the tar against it.

    Raises:
        UserError: the tar is missing or changed, or the sidecar is not one.
    """
    place = sidecar_path(path)
    with reworded(OSError, UserError, f"{place}: cannot be read: "):
        text = place.read_bytes()
    shard = parse_sidecar(text, str(place), path, request)
    size, digest = shard.sidecar["num_bytes"], shard.sidecar["sha256"]
    if not path.is_file():
        raise UserError(f"{path}: missing, though its sidecar is there")
    if path.stat().st_size != size or (verify and known_sha256(path) != digest):
        raise changed(path)
    return shard


def parse_sidecar(text: bytes, place: str, path: Path | str, request: dict[str, Any] | None = None) -> Shard:
    """Read a sidecar's text; ``place`` is where it came from, ``path`` the tar it speaks of.

    Raises:
        UserError: it is not one.
    """
    kinds = (ValueError, KeyError, TypeError, AttributeError, UserError)
    with reworded(kinds, UserError, f"{place}: is not a shard's sidecar: "):
        sidecar = parse_json(text)
        tried = tuple(TriedPair.from_json(entry) for entry in sidecar["candidates"])
        for name, annotation in _FACTS.items():
            if name in sidecar or name in _NEEDED:
                checked(annotation, sidecar[name], name)
    if CHECKSUM in sidecar and sidecar[CHECKSUM] != checksum(sidecar):
        raise UserError(f"{place}: was changed after it was written (its checksum does not match its values)")
    if request and sidecar.get("request_sha256", requests.digest(request)) != requests.digest(request):
        raise UserError(f"{place}: belongs to another collection than the request.json beside it")
    return Shard(path, sidecar, tried, request or {})
