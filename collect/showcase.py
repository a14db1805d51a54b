"""The pictures of a collection: some kept pairs, source beside golden, and histograms of the score gains."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from collect.survey import Survey
from npnet.data import schema, shards
from npnet.data.sidecars import TriedPair
from npnet.drawing.histograms import Gains, plot_histograms
from npnet.drawing.sheets import PairCell, sheet_of_pairs
from npnet.errors import UserError, reworded

NUM_PAIRS, NUM_SHARDS = 12, 4
"""Pairs on the contact sheet, from how many shards spread over the folder."""


def contact_sheet(found: Survey) -> bytes | None:
    """Draw kept pairs, the source picture left and the golden one right, their scores underneath.

    Returns:
        A webp file; None where the shards hold no pictures of kept pairs.

    Raises:
        UserError: a picture that came with the shards is none.
    """
    cells = [PairCell(source, golden, tried.prompt, _scores(tried)) for tried, source, golden in kept_pictures(found)]
    return sheet_of_pairs("kept pairs: source left, golden right", cells) if cells else None


def plot_gains(found: Survey) -> bytes:
    """Draw the histogram of golden - source for each metric, the kept pairs in colour; a PNG file."""
    panels = [Gains(metric, found.gains(metric), _margin(found, metric)) for metric in found.metrics]
    return plot_histograms([panel for panel in panels if panel.gains])


def kept_pictures(found: Survey) -> Iterator[tuple[TriedPair, Image.Image, Image.Image]]:
    """Return some kept pairs with their two pictures.

    Raises:
        UserError: a picture that came with the shards is none.
    """
    if not found.request.get("keep_images", True):
        return
    with_kept = [shard for shard in found.shards if any(candidate.kept for candidate in shard.tried)]
    chosen = with_kept[:: max(1, len(with_kept) // NUM_SHARDS)][:NUM_SHARDS]
    per_shard = -(-NUM_PAIRS // max(1, len(chosen)))
    names = (schema.SOURCE_IMAGE, schema.GOLDEN_IMAGE)
    for shard in chosen:
        kept = {candidate.key: candidate for candidate in shard.tried if candidate.kept}
        shown = 0
        for sample in shards.iterate_shard(Path(shard.path)):
            candidate = kept.get(sample[schema.KEY])
            if candidate is None:
                continue
            if shown == per_shard or any(name not in sample for name in names):
                break
            shown += 1
            source, golden = (_open(sample[name], f"{shard.path}: {candidate.key}.{name}") for name in names)
            yield candidate, source, golden


def _margin(found: Survey, metric: str) -> float | None:
    """Return the margin where it stands on this metric's scale."""
    selected_by, margin = found.request.get("selected_by") or [], found.request.get("margin")
    alone = found.request.get("selection") == "all" or len(selected_by) == 1
    return float(margin) if metric in selected_by and alone and isinstance(margin, (int, float)) else None


def _scores(tried: TriedPair) -> tuple[str, ...]:
    return tuple(
        f"{metric}  {before:.4g} → {after:.4g}  ({after - before:+.3g})"
        for metric, (before, after) in tried.scores.items()
    )


def _open(data: bytes, where: str) -> Image.Image:
    kinds = (OSError, ValueError, Image.DecompressionBombError)
    with reworded(kinds, UserError, f"{where}: is not a picture: "):
        # a picture in a stranger's shards is opened only as the type that its name says
        return Image.open(io.BytesIO(data), formats=["WEBP"]).convert("RGB")
