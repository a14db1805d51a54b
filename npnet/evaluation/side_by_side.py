"""One picture of pictures: a row for each method, a column for each prompt, scores beneath."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from npnet.work import atomic

CELL, GAP, LABEL, LINE, FONT = 128, 8, 80, 13, 11
"""Pixels: a picture's longer side, the space between two, the methods' names, a line of text, its letters."""
LETTERS = CELL // 6
"""In a line above a picture."""


def draw_side_by_side(
    path: Path,
    captions: Sequence[str],
    pictures: Mapping[str, Sequence[Tensor]],
    notes: Mapping[str, Sequence[str]],
    legend: str,
) -> None:
    """Write a PNG.

    Args:
        path: of the file; appears whole.
        captions: above each column.
        pictures: method label -> a picture ``(3, H, W)`` in [0, 1], or a video ``(F, 3, H, W)``, for each column.
        notes: method label -> what is written beneath each.
        legend: what the notes are.
    """
    from PIL import Image, ImageDraw

    wrapped = [textwrap.wrap(caption, LETTERS)[:6] for caption in captions]
    top = LINE * max(map(len, wrapped)) + GAP
    height = CELL + LINE + GAP
    sheet = Image.new("RGB", (LABEL + len(captions) * (CELL + GAP), top + len(pictures) * height + LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for column, lines in enumerate(wrapped):
        left = LABEL + column * (CELL + GAP)
        draw.multiline_text((left, 2), "\n".join(lines), fill="black", font_size=FONT, spacing=1)
    for row, (label, images) in enumerate(pictures.items()):
        y = top + row * height
        draw.text((4, y + CELL // 2), label, fill="black", font_size=FONT + 2)
        for column, image in enumerate(images):
            left = LABEL + column * (CELL + GAP)
            sheet.paste(_thumbnail(image), (left, y))
            draw.text((left, y + CELL + 1), notes[label][column], fill="#444444", font_size=FONT)
    draw.text((LABEL, sheet.height - LINE - 1), legend, fill="#444444", font_size=FONT)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    atomic.make_folder(path.parent)
    atomic.write_bytes(path, buffer.getvalue())


def _thumbnail(image: Tensor) -> Any:
    from PIL import Image

    frame = image[len(image) // 2] if image.ndim == 4 else image
    array = (frame.nan_to_num().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    scale = CELL / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)
