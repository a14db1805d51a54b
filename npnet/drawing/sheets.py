"""Pictures of pictures: pairs with their captions in columns, and methods side by side."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

from npnet.drawing.palette import QUIET, TEXT
from npnet.drawing.webp import to_picture
from npnet.text import visible
from npnet.work import atomic

if TYPE_CHECKING:
    from torch import Tensor

SIDE, SPACE, ROW = 256, 16, 18
"""Of a sheet of pairs, in pixels: a picture's longer side, between cells, and of a line of text."""
COLUMNS = 2
CELL, GAP, LABEL, LINE, FONT = 128, 8, 80, 13, 11
"""Of pictures side by side, in pixels: a picture's longer side, the space between two, the rows' names, a line of text,
its letters."""
LETTER = 6
"""Its mean width."""


@dataclass(frozen=True)
class PairCell:
    """Two pictures beside each other, the prompt and further lines beneath."""

    left: Image.Image
    right: Image.Image
    caption: str
    lines: tuple[str, ...] = ()


def sheet_of_pairs(title: str, pairs: Sequence[PairCell]) -> bytes:
    """Draw pairs of pictures in ``COLUMNS`` columns under a title; a webp file. At least one pair is needed."""
    cells = [_draw_pair(pair) for pair in pairs]
    width, height = max(cell.width for cell in cells), max(cell.height for cell in cells)
    columns = min(COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    top = 2 * SPACE + ROW
    sheet = Image.new("RGB", (columns * (width + SPACE) + SPACE, rows * (height + SPACE) + top), "white")
    ImageDraw.Draw(sheet).text((SPACE, SPACE), visible(title), fill=QUIET, font=font())
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        sheet.paste(cell, (SPACE + column * (width + SPACE), top + row * (height + SPACE)))
    buffer = io.BytesIO()
    sheet.save(buffer, "webp", quality=90)
    return buffer.getvalue()


def _draw_pair(pair: PairCell) -> Image.Image:
    scale = SIDE / max(pair.left.size)
    size = (max(1, round(scale * pair.left.width)), max(1, round(scale * pair.left.height)))
    # small pictures are shown as the pixels that they are
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    width = 2 * size[0] + 4
    lines = [(line, TEXT) for line in wrap(pair.caption, width, font())]
    lines += [(visible(line), QUIET) for line in pair.lines]
    cell = Image.new("RGB", (width, size[1] + 6 + ROW * len(lines)), "white")
    cell.paste(pair.left.resize(size, way), (0, 0))
    cell.paste(pair.right.resize(size, way), (size[0] + 4, 0))
    draw = ImageDraw.Draw(cell)
    for number, (text, color) in enumerate(lines):
        draw.text((0, size[1] + 4 + number * ROW), text, fill=color, font=font())
    return cell


def wrap(text: str, width: int, letters: ImageFont.FreeTypeFont, num_lines: int = 2) -> list[str]:
    """Break a text into at most ``num_lines`` lines of ``width`` pixels; what does not fit ends in an ellipsis."""
    lines: list[str] = []
    rest = visible(" ".join(text.split())[:300])
    while rest and len(lines) < num_lines:
        fits = next(n for n in range(len(rest), 0, -1) if n == 1 or letters.getlength(rest[:n] + "…") <= width)
        space = rest.rfind(" ", 0, fits + 1)
        end = len(rest) if fits == len(rest) else space if space > 0 else fits
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    if rest:
        lines[-1] = lines[-1].rstrip(" ,.") + "…"
    return lines


@cache
def font(size: int = 12) -> ImageFont.FreeTypeFont:
    """Return the letters of every sheet: those that come with matplotlib, which know most alphabets."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def draw_side_by_side(
    path: Path,
    captions: Sequence[str],
    pictures: Mapping[str, Sequence[Tensor]],
    notes: Mapping[str, Sequence[str]],
    legend: str,
    cell: int = CELL,
) -> None:
    """Write a PNG: a row for each label, a column for each caption, a note beneath each picture.

    Args:
        path: of the file; appears whole.
        captions: above each column.
        pictures: method label -> a picture ``(3, H, W)`` in [0, 1], or a video ``(F, 3, H, W)``, for each column.
        notes: method label -> what is written beneath each.
        legend: what the notes are.
        cell: a picture's longer side, in pixels.
    """
    wrapped = [textwrap.wrap(visible(caption), cell // LETTER)[:6] for caption in captions]
    top = LINE * max(map(len, wrapped)) + GAP
    height = cell + LINE + GAP
    labels = [visible(label).replace("_", " ") for label in pictures]
    side = max([LABEL, *(GAP + len(word) * (LETTER + 2) for label in labels for word in label.split())])
    sheet = Image.new("RGB", (side + len(captions) * (cell + GAP), top + len(pictures) * height + LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for column, lines in enumerate(wrapped):
        left = side + column * (cell + GAP)
        draw.multiline_text((left, 2), "\n".join(lines), fill="black", font=font(FONT), spacing=1)
    for row, (label, images) in enumerate(pictures.items()):
        y = top + row * height
        name = "\n".join(textwrap.wrap(labels[row], side // (LETTER + 2)))
        draw.multiline_text((4, y + cell // 2 - LINE * name.count("\n") // 2), name, fill="black", font=font(FONT + 2))
        for column, image in enumerate(images):
            left = side + column * (cell + GAP)
            sheet.paste(_thumbnail(to_picture(image), cell), (left, y))
            draw.text((left, y + cell + 1), visible(notes[label][column]), fill="#444444", font=font(FONT))
    draw.text((side, sheet.height - LINE - 1), visible(legend), fill="#444444", font=font(FONT))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    atomic.make_folder(path.parent)
    atomic.write_bytes(path, buffer.getvalue())


def _thumbnail(picture: Image.Image, side: int) -> Image.Image:
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)
