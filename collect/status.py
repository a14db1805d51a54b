"""The progress of a collection: ``npnet status DIR [json=true] [pictures=true] [verify=true]``; imports no torch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from collect.survey import Survey, survey
from npnet.arguments import asked
from npnet.cli import run
from npnet.data.sidecars import sidecar_path
from npnet.description import Description, imported
from npnet.drawing.terminal import print_facts
from npnet.text import size_text, visible
from npnet.work import lock
from npnet.work.progress import duration

SUMMARY = "Show the progress of a collection."
WINDOW = 50
"""Shards, the last ones, whose times give the rate."""


@dataclass(frozen=True)
class StatusSettings(Description):
    """The keys of ``status``.

    Attributes:
        folder: what collect.py left or is filling.
        json: print JSON, for programs.
        pictures: draw the contact sheet and the histograms into the folder.
        verify: compare every checksum; reads all of the shards.
    """

    folder: Path
    json: bool = False
    pictures: bool = False
    verify: bool = False


class Chunks(TypedDict):
    """Shards: those that are there, and all."""

    done: int
    total: int


class Verified(TypedDict):
    """Shards that are there, whose tars and sidecars were compared with their checksums, and those that passed."""

    shards: int
    unchanged: int


class Pairs(TypedDict):
    """Counts of pairs; ``total`` and ``keep_rate`` are None where they are not known."""

    tried: int
    total: int | None
    kept: int
    written: int
    keep_rate: float | None
    rejected: dict[str, int]


class Status(TypedDict):
    """The progress of a collection, as ``json=true`` prints it."""

    folder: str
    state: str
    chunks: Chunks
    pairs: Pairs
    mean_gain: dict[str, float | None]
    selected_by: list[str]
    pairs_per_hour: float | None
    eta_seconds: float | None
    seconds_since_last_shard: float | None
    num_bytes: int
    runs: list[str]
    broken: list[str]
    verified: NotRequired[Verified]
    pictures: NotRequired[list[str]]


def status(found: Survey, now: float) -> Status:
    """Return what is known of a folder, as JSON values.

    ``pairs_per_hour`` counts tried pairs, from the times of the sidecars: of the last ``WINDOW`` shards, and of those
    since the present run began where there is one. It is null where fewer than two shards tell.

    Args:
        found: the folder.
        now: seconds since the epoch.
    """
    holders = lock.active(found.folder)
    tried, total = found.num_tried, found.request.get("num_samples")
    if not isinstance(total, int):  # of shards that came without a request
        total = None
    rate = _pairs_per_second(found, holders)
    left = None if total is None else max(0, total - tried)
    eta = left / rate if holders and rate and left is not None else None
    state = "finished" if found.is_finished else "running" if holders else "unfinished"
    latest = max((sidecar_path(Path(shard.path)).stat().st_mtime for shard in found.shards), default=None)
    return {
        "folder": str(found.folder),
        "state": state,
        "chunks": {"done": len(found.shards), "total": found.num_chunks},
        "pairs": {
            "tried": tried,
            "total": total,
            "kept": found.num_kept,
            "written": found.num_written,
            "keep_rate": found.num_kept / tried if tried else None,
            "rejected": found.rejected,
        },
        "mean_gain": {metric: _mean([gain for gain, _ in found.gains(metric)]) for metric in found.metrics},
        "selected_by": found.request.get("selected_by", []),
        "pairs_per_hour": None if rate is None else 3600 * rate,
        "eta_seconds": eta,
        "seconds_since_last_shard": None if latest is None else max(0.0, now - latest),
        "num_bytes": sum(path.stat().st_size for path in found.folder.iterdir() if path.is_file()),
        "runs": [holder.who for holder in holders],
        "broken": found.broken,
    }


def _pairs_per_second(found: Survey, holders: list[Any]) -> float | None:
    times = [(sidecar_path(Path(shard.path)).stat().st_mtime, len(shard.tried)) for shard in found.shards]
    times = sorted(times)[-WINDOW:]
    if holders:
        # a lock file is as old as its run; files of runs that are over mean nothing
        names = [f".run-{holder.share.index}-of-{holder.share.count}.lock" for holder in holders]
        files = [path for path in (found.folder / name for name in names) if path.exists()]
        began = min((path.stat().st_mtime for path in files), default=-math.inf)
        # the shards of earlier runs say nothing about the rate of this one
        recent = [entry for entry in times if entry[0] >= began]
        times = [(began, 0), *recent] if math.isfinite(began) else recent
    if len(times) < 2 or times[-1][0] <= times[0][0]:
        return None
    return sum(count for _, count in times[1:]) / (times[-1][0] - times[0][0])


def print_status(facts: Status) -> None:
    """Print the table for people."""
    pairs, chunks = facts["pairs"], facts["chunks"]
    who = f" ({'; '.join(filter(None, facts['runs']))})" if facts["runs"] else ""
    of_total = f" of {pairs['total']:,}" if pairs["total"] else ""
    rows = [
        ("state", facts["state"] + who),
        ("shards", f"{chunks['done']:,} of {chunks['total']:,}"),
        ("pairs tried", f"{pairs['tried']:,}{of_total}"),
    ]
    if pairs["tried"]:
        rows.append(("pairs kept", f"{pairs['kept']:,} ({pairs['keep_rate']:.1%})"))
    rows += [(f"rejected, {reason}", f"{count:,}") for reason, count in pairs["rejected"].items()]
    for metric, gain in facts["mean_gain"].items():
        rows.append((f"mean gain, {metric}", "unknown" if gain is None else f"{gain:+.4g}"))
    if facts["pairs_per_hour"]:
        rows.append(("pairs per hour", f"{facts['pairs_per_hour']:,.0f} tried, by the files' times"))
    if facts["eta_seconds"] is not None:
        rows.append(("time left", duration(facts["eta_seconds"])))
    if facts["state"] != "finished" and facts["seconds_since_last_shard"] is not None:
        rows.append(("last shard", f"{duration(facts['seconds_since_last_shard'])} ago"))
    rows.append(("disk", size_text(facts["num_bytes"])))
    if "verified" in facts:
        passed = "{unchanged:,} of {shards:,} shards unchanged".format(**facts["verified"])
        rows.append(("verified", f"{passed}, by the SHA-256 of each tar and each sidecar"))
    print_facts(facts["folder"], [*rows, *(("broken", problem) for problem in facts["broken"])])


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, or see ``survey``.
    """
    settings = asked(StatusSettings, arguments, "status", SUMMARY, ("folder",))
    if settings is None:
        return 0
    found = survey(settings.folder, settings.verify)
    facts = status(found, time.time())
    if settings.verify:
        unchanged = len(found.shards)
        facts["verified"] = {"shards": unchanged + len(found.broken), "unchanged": unchanged}
    if settings.pictures:
        facts["pictures"] = [str(path) for path in imported("collect.finish:write_pictures")(found)]
    if settings.json:
        print(json.dumps(facts, indent=2))
        return 0
    print_status(facts)
    for path in facts.get("pictures", []):
        print(visible(path))
    return 0


if __name__ == "__main__":
    run("status")
