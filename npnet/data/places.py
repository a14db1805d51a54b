"""The places of shards: folders, single tars, addresses, and lists of them.

``data.shards`` is one place or a list of places; braces stand for several (``part-{0..3}``). A place is

- a folder that ``collect.py`` left;
- the address of such a folder (``https://...``, ``s3://...``: what fsspec reads, with the package that it asks for).
  An address cannot be listed, so it must serve ``request.json``, which says how many shards there are;
- one tar, here or under an address (``https://HOST/shard-{000000..000099}.tar``).

Every tar needs its sidecar beside it: the split of the data is decided from the sidecars, before any tar is read.
Nothing is executed: ``pipe:`` addresses, which webdataset would hand to a shell, are refused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from braceexpand import braceexpand

from npnet.data.sidecars import Shard, parse_sidecar, read_request, read_shard, stream_shards
from npnet.errors import UserError, reworded
from npnet.untrusted import parse_json

REQUEST = "request.json"


def expand(shards: str | Sequence[str] | None) -> list[str]:
    """Return the places that ``data.shards`` names, braces expanded.

    Raises:
        UserError: there is none, one is given twice, a local one is not there, or one is a command.
    """
    given: list[Any] = [shards] if isinstance(shards, str) or not isinstance(shards, Sequence) else list(shards)
    if not given or not all(isinstance(place, str) and place for place in given):
        raise UserError(f"data.shards=DIR is needed (a folder that collect.py filled, or a list of them), got {shards}")
    with reworded(ValueError, UserError, f"data.shards={shards}: "):
        places = [place.rstrip("/") or "/" for pattern in given for place in braceexpand(str(pattern))]
    for number, place in enumerate(places):
        if place.startswith("pipe:"):
            raise UserError(f"data.shards={place}: commands are not run; allowed: folders, tars and addresses")
        if place in places[:number]:
            raise UserError(f"data.shards={place}: is given twice")
        if not is_address(place) and not (Path(place).is_file() if place.endswith(".tar") else Path(place).is_dir()):
            raise UserError(f"data.shards={place}: no such {'file' if place.endswith('.tar') else 'folder'}")
    return places


def is_address(place: str) -> bool:
    """Return whether ``place`` is read through fsspec."""
    return "://" in place


def find(places: Sequence[str]) -> Iterator[Shard]:
    """Read the sidecars of all places, one after another, in order.

    Raises:
        UserError: a shard is missing, unfinished or changed; an address cannot be read; or two places were collected
            with different backbones.
    """
    first: tuple[str, dict[str, Any]] | None = None
    for place in places:
        known = False
        for shard in _shards_of(place):
            yield shard
            facts = backbone_facts(shard.request)
            if known or not facts:
                continue
            known = True
            if first is None:
                first = place, facts
            elif facts != first[1]:
                name, got = next((n, facts.get(n)) for n in facts | first[1] if facts.get(n) != first[1].get(n))
                here, there = (
                    f"{place} was collected with backbone.{name}={got}",
                    f"{first[0]} with {first[1].get(name)}",
                )
                raise UserError(f"data.shards: {here}, {there}: a network is trained for one backbone")


def backbone_facts(request: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that tell the backbones of two collections apart; empty where the request has none."""
    node = request.get("backbone") or {}
    names = (
        "_target_",
        "path",
        "variant",
        "revision",
        "height",
        "width",
        "num_frames",
        "denoiser",
        "lora",
        "lora_scale",
    )
    return {name: node[name] for name in names if node.get(name) is not None}


def iterate(path: str | Path, wanted: Container[int] | None = None, verify: bool = True) -> Iterator[dict[str, Any]]:
    """Stream the samples of a tar, wherever it lies; see ``shards.iterate_shard``.

    The checksum of a tar under an address is not compared: it is read once, as it comes. Its pairs are compared with
    its sidecar.

    Args:
        path: of the tar.
        wanted: see ``shards.iterate_shard``.
        verify: see ``shards.iterate_shard``.

    Raises:
        UserError: it cannot be read, is cut short, or holds what is not a pair, or another one than its sidecar lists.
    """
    from npnet.data.shards import as_listed, iterate_shard  # torch comes with it, which sidecars do without

    if isinstance(path, Path) or not is_address(path):
        yield from iterate_shard(Path(path), wanted, verify)
    else:
        yield from as_listed(_as_it_comes(path, wanted), _remote_shard(path, {}).written, path)


def first_sample(path: str | Path) -> dict[str, Any] | None:
    """Return the first sample of a tar, None where it is empty; the rest is not read.

    Raises:
        UserError: see ``iterate``.
    """
    return next(_as_it_comes(str(path)), None)


def _as_it_comes(path: str, wanted: Container[int] | None = None) -> Iterator[dict[str, Any]]:
    import fsspec  # takes 0.2 s, which only addresses need

    from npnet.data.shards import group_samples  # torch comes with it

    options = {"block_size": 0} if path.startswith("http") else {}  # 0: one request
    with (
        _reading(path),
        fsspec.open(path, "rb", **options) as file,
        tarfile.open(fileobj=file, mode="r|") as tar,
    ):
        yield from group_samples(tar, path, wanted=wanted)


def _shards_of(place: str) -> Iterator[Shard]:
    if not is_address(place):
        path = Path(place)
        yield from [read_shard(path, request=_beside(path))] if path.suffix == ".tar" else stream_shards(path)
        return
    if place.endswith(".tar"):
        yield _remote_shard(place, {})
        return
    kinds = (ValueError, KeyError, TypeError)
    with reworded(kinds, UserError, f"{place}/{REQUEST}: is not the request of a collection: "):
        request = parse_json(_read(f"{place}/{REQUEST}"))
        count = int(request["num_chunks"])
    for number in range(count):
        yield _remote_shard(f"{place}/shard-{number:06d}.tar", request)


def _beside(path: Path) -> dict[str, Any]:
    return read_request(path.parent)


def _remote_shard(address: str, request: dict[str, Any]) -> Shard:
    sidecar = f"{address.removesuffix('.tar')}.json"
    return parse_sidecar(_read(sidecar), sidecar, address, request)


def _read(address: str) -> bytes:
    from fsspec.core import url_to_fs  # takes 0.2 s, which only addresses need

    with _reading(address):
        system, path = url_to_fs(address)
        return system.cat_file(path)


@contextmanager
def _reading(address: str) -> Iterator[None]:
    where = f"{address}: cannot be read: "
    with (  # every protocol has exceptions of its own
        reworded(Exception, UserError, where, but=UserError),
        reworded(FileNotFoundError, lambda why: UserError(f"{where}no such file")),
    ):
        yield
