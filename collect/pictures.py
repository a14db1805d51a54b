"""Two pictures of a collection: some kept pairs, source beside golden, and how the score gains are distributed."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collect.survey import Survey
from npnet.data.sidecars import TriedPair
from npnet.errors import UserError, one_line

if TYPE_CHECKING:
    from PIL import Image

CONTACT_SHEET, GAINS = "kept_pairs.webp", "gains.png"
NUM_PAIRS, NUM_SHARDS, COLUMNS = 12, 4, 2
"""Pairs on the contact sheet, from how many shards spread over the folder, and in how many columns."""
SIDE, GAP, LINE = 256, 16, 18
"""Pixels: a picture's longer side, between cells, and of a line of text."""
INK, PALE, BLUE, GREY = "#1a1a1a", "#666666", "#0072b2", "#bdbdbd"
NUM_BINS = 50
TAIL = 0.5
"""Percent of the gains, on either side, that the outermost bars gather."""


def contact_sheet(found: Survey) -> bytes | None:
    """Draw kept pairs, the source picture left and the golden one right, their scores underneath.

    Returns:
        A webp file; None where the shards hold no pictures of kept pairs.

    Raises:
        UserError: a picture that came with the shards is none.
    """
    from PIL import Image, ImageDraw

    cells = [_cell(*pair) for pair in _pairs(found)]
    if not cells:
        return None
    width, height = max(cell.width for cell in cells), max(cell.height for cell in cells)
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    top = 2 * GAP + LINE
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + top), "white")
    ImageDraw.Draw(sheet).text((GAP, GAP), "kept pairs: source left, golden right", fill=PALE, font=_font())
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        sheet.paste(cell, (GAP + column * (width + GAP), top + row * (height + GAP)))
    return _webp(sheet)


def plot_gains(found: Survey) -> bytes:
    """Draw the histogram of golden - source for each metric, the kept pairs in colour; a PNG file."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metrics = [metric for metric in found.metrics if found.gains(metric)]
    columns = min(3, max(1, len(metrics)))
    rows = max(1, -(-len(metrics) // columns))
    figure = Figure(figsize=(max(6.4, 4.2 * columns), 3.4 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, metric in itertools.zip_longest(axes, metrics):
        if metric is None:
            axis.set_visible(False)
            continue
        gains, kept = (np.array(values) for values in zip(*found.gains(metric), strict=True))
        low = np.percentile(gains, TAIL, method="lower")
        high = np.percentile(gains, 100 - TAIL, method="higher")
        margin = _margin(found, metric)
        low, high = min(low, 0.0, margin or 0.0), max(high, 0.0, margin or 0.0)
        # bars end at 0, so that a bar is of gains or of losses
        width = (high - low) / NUM_BINS or 1.0
        bins = width * np.arange(np.floor(low / width), np.ceil(high / width) + 1.5)
        inside = gains.clip(bins[0], bins[-1])
        label = f"kept, {kept.sum():,} of {len(kept):,}"
        axis.hist([inside[kept], inside[~kept]], bins, stacked=True, color=[BLUE, GREY], label=[label, "rejected"])
        axis.axvline(0.0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        if margin:
            axis.axvline(margin, color=INK, linewidth=0.9, label=f"margin {margin:g}")
        axis.set_title(f"{metric}: mean gain {gains.mean():+.4g}", fontsize=10, loc="left")
        axis.set_xlabel("golden - source score", fontsize=9)
        axis.set_ylabel("pairs", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.yaxis.get_major_locator().set_params(integer=True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _margin(found: Survey, metric: str) -> float | None:
    """Return the margin where it stands on this metric's scale."""
    selected_by, margin = found.request.get("selected_by") or [], found.request.get("margin")
    alone = found.request.get("selection") == "all" or len(selected_by) == 1
    return float(margin) if metric in selected_by and alone and isinstance(margin, (int, float)) else None


def _pairs(found: Survey) -> Iterator[tuple[TriedPair, Any, Any]]:
    """Return some kept pairs with their two pictures."""
    from npnet.data import schema
    from npnet.data.shards import iterate_shard

    if not found.request.get("keep_images", True):
        return
    shards = [shard for shard in found.shards if any(candidate.kept for candidate in shard.tried)]
    chosen = shards[:: max(1, len(shards) // NUM_SHARDS)][:NUM_SHARDS]
    per_shard = -(-NUM_PAIRS // max(1, len(chosen)))
    names = (schema.SOURCE_IMAGE, schema.GOLDEN_IMAGE)
    for shard in chosen:
        kept = {candidate.key: candidate for candidate in shard.tried if candidate.kept}
        shown = 0
        for sample in iterate_shard(Path(shard.path)):
            candidate = kept.get(sample[schema.KEY])
            if candidate is None:
                continue
            if shown == per_shard or any(name not in sample for name in names):
                break
            shown += 1
            source, golden = (_open(sample[name], f"{shard.path}: {candidate.key}.{name}") for name in names)
            yield candidate, source, golden


def _open(data: bytes, where: str) -> Image.Image:
    from PIL import Image

    try:
        # a picture that came with somebody's shards is opened as what its name says, and as nothing else
        return Image.open(io.BytesIO(data), formats=["WEBP"]).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: is no picture: {one_line(error)}") from error


def _cell(candidate: TriedPair, source: Image.Image, golden: Image.Image) -> Image.Image:
    from PIL import Image, ImageDraw

    scale = SIDE / max(source.size)
    size = tuple(max(1, round(scale * side)) for side in source.size)
    # small pictures are shown as the pixels that they are
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    width = 2 * size[0] + 4
    font = _font()
    lines = [(line, INK) for line in _wrap(candidate.prompt, width, font)]
    for metric, (before, after) in candidate.scores.items():
        lines.append((f"{metric}  {before:.4g} → {after:.4g}  ({after - before:+.3g})", PALE))
    cell = Image.new("RGB", (width, size[1] + 6 + LINE * len(lines)), "white")
    cell.paste(source.resize(size, way), (0, 0))
    cell.paste(golden.resize(size, way), (size[0] + 4, 0))
    draw = ImageDraw.Draw(cell)
    for number, (text, color) in enumerate(lines):
        draw.text((0, size[1] + 4 + number * LINE), text, fill=color, font=font)
    return cell


def _wrap(text: str, width: int, font: Any, num_lines: int = 2) -> list[str]:
    """Break a text into at most ``num_lines`` lines of ``width`` pixels; what does not fit ends in an ellipsis."""
    lines, rest = [], " ".join(text.split())[:300]
    while rest and len(lines) < num_lines:
        fits = next(n for n in range(len(rest), 0, -1) if n == 1 or font.getlength(rest[:n] + "…") <= width)
        space = rest.rfind(" ", 0, fits + 1)
        end = len(rest) if fits == len(rest) else space if space > 0 else fits
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    if rest:
        lines[-1] = lines[-1].rstrip(" ,.") + "…"
    return lines


@cache
def _font() -> Any:
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 12)


def _webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "webp", quality=90)
    return buffer.getvalue()
