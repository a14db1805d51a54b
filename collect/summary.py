"""What was collected: the table that the commands print when a folder is finished."""

from __future__ import annotations

from collect.card import gain_text, keep_rate_text
from collect.survey import Survey
from npnet.drawing.terminal import print_facts
from npnet.text import size_text
from npnet.work.progress import duration


def print_summary(found: Survey, seconds: float | None = None) -> None:
    """Print a table of a finished folder; ``seconds`` is this run's time, None where there was nothing to do."""
    rows = [
        ("pairs tried", f"{found.num_tried:,}"),
        ("pairs kept", f"{found.num_kept:,}"),
        ("keep rate", keep_rate_text(found)),
    ]
    for reason, count in found.rejected.items():
        rows.append((f"rejected, {reason}", f"{count:,}"))
    for metric in found.metrics:
        gains = [gain for gain, _ in found.gains(metric)]
        if gains:
            rows.append((f"mean gain, {metric}", gain_text(gains)))
    sidecars = [shard.sidecar for shard in found.shards]
    forwards = [sidecar["cost"]["forwards"] for sidecar in sidecars if "cost" in sidecar]
    if forwards and found.num_tried:
        rows.append(("forwards per pair", f"{sum(forwards) / found.num_tried:.4g}"))
    rows.append(("size", size_text(found.num_bytes)))
    shrunk = [sidecar["smallest_batch"] for sidecar in sidecars if sidecar.get("smallest_batch")]
    if shrunk:
        rows.append(("batch size shrunk to", f"{min(shrunk)} (out of memory, in {len(shrunk)} shards)"))
    notes = {f"{k}: {note}" for sidecar in sidecars for k, ns in sidecar.get("notes", {}).items() for note in ns}
    for note in sorted(notes)[:3]:
        rows.append(("note", note))
    if seconds is not None:
        rows.append(("time of this run", duration(seconds)))
    print_facts(found.folder, rows)
