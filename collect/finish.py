"""Finish a collection: write its pictures and its data set card beside the shards.

They are made once, from the sidecars and a few pairs, and equal folders get equal files. Existing files are not
changed, so a card can be edited. The same command makes a deleted file again.
"""

from __future__ import annotations

from pathlib import Path

from collect.card import CARD, CONTACT_SHEET, GAINS, card
from collect.showcase import contact_sheet, plot_gains
from collect.survey import Survey
from npnet.data import schema
from npnet.data.shards import iterate_shard
from npnet.work import atomic


def finish(found: Survey, license: str | None = None) -> None:
    """Make the card of a finished folder and the pictures it shows, where there is no card; others are left alone."""
    if (found.folder / CARD).exists() or not found.is_finished:
        return
    write_pictures(found)
    shape, members = _form(found)
    atomic.write_bytes(found.folder / CARD, card(found, shape, members, license).encode())


def write_pictures(found: Survey) -> list[Path]:
    """Draw the pictures of a folder, finished or not, into it; returns their paths."""
    pictures = {GAINS: plot_gains(found), CONTACT_SHEET: contact_sheet(found)}
    written = []
    for name, data in pictures.items():
        if data is not None:
            atomic.write_bytes(found.folder / name, data)
            written.append(found.folder / name)
    return written


def _form(found: Survey) -> tuple[tuple[int, ...] | None, set[str]]:
    """Return the shape of a noise and the member names of the first pair."""
    for shard in found.shards:
        for sample in iterate_shard(Path(shard.path)):
            pair = schema.decode(sample, str(shard.path))
            return tuple(pair.source_noise.shape), {name for name in sample if not name.startswith("__")}
    return None, set()
