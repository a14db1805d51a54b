"""The only place where pictures from elsewhere are opened: for ``images=``, FID and control images.

The result is RGB with 8 bits:

- gray with 16 bits (PNG, PGM) is divided by 257, so that 65535 becomes 255; PIL alone would cut it off at 255, which
  makes black and white of it. Colours with 16 bits lose their lower byte;
- floating values are read as [0, 1], or as [0, 255] where one is above 1; whole numbers of 32 bits have no known range
  and are refused, as are values that are not finite;
- what is transparent is dropped, and its colours stay, as ``convert("RGB")`` does in the published scorers;
- of an animation the first frame is read.

A rotation that EXIF asks for is applied where ``upright`` is asked for, as diffusers does with control images. Pictures
are scored and compared **as they are stored**, because the published scorers and clean-fid do so; scoring reports how
many ask for a rotation. Files that unpack to more than ``MOST_PIXELS`` are refused from their header. Hidden files and
folders (``._x.png``, ``.ipynb_checkpoints``) are no pictures.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from npnet.errors import UserError, one_line, reworded
from npnet.text import count

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""What is tried, whatever a file is called: none of them starts another program, as PIL does for PostScript."""
READING = 2
"""Grows when the same file gives other pixels, so that no older score of it is used; 2: more than 8 bits are scaled."""
MOST_PIXELS = 2**27
"""Of a picture, 11,585 x 11,585."""
UPRIGHT = 1
"""EXIF's orientation of a picture that needs no rotation."""


class PictureError(UserError):
    """A file that is no picture, or none that can be read; ``reason`` says why, without the file's name."""

    def __init__(self, where: str, problem: str, reason: str) -> None:
        self.where, self.problem, self.reason = where, problem, reason
        super().__init__(f"{where}: {problem}")

    def __reduce__(self) -> tuple[type[PictureError], tuple[str, str, str]]:
        """Travel from a worker process with the three parts."""
        return type(self), (self.where, self.problem, self.reason)


@dataclass(frozen=True)
class Header:
    """What a picture says of itself: width and height as stored, and whether EXIF asks for a rotation."""

    size: tuple[int, int]
    is_rotated: bool


def open_picture(path: Path, where: str, upright: bool = False) -> Image.Image:
    """Return a picture in RGB with 8 bits; see the module's docstring.

    Args:
        path: the file.
        where: begins an error line, such as ``images: FILE``.
        upright: turn it as its EXIF orientation says.

    Raises:
        PictureError: there is no such file, or it is no picture that can be read.
    """
    with _opened(path, where) as picture:
        picture.load()
        return to_rgb(ImageOps.exif_transpose(picture) if upright else picture)


def read_header(path: Path, where: str) -> Header:
    """Return a picture's size and whether it carries a rotation, without its pixels.

    Raises:
        PictureError: there is no such file, or it is no picture.
    """
    with _opened(path, where) as picture:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
        return Header(picture.size, orientation in range(2, 9))


def read_text(path: Path, where: str, name: str) -> str | None:
    """Return what a text chunk of a picture says, without its pixels; None where it has none.

    Raises:
        PictureError: there is no such file, or it is no picture.
    """
    with _opened(path, where) as picture:
        text = picture.info.get(name)
    return text if isinstance(text, str) else None


def to_rgb(picture: Image.Image) -> Image.Image:
    """Return any picture in RGB with 8 bits.

    Raises:
        ValueError: its values have no known range.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        return _gray(np.asarray(picture, np.float64) / 257)
    if picture.mode == "I":
        raise ValueError("holds whole numbers of 32 bits, whose range is not known; save it with 8 or 16 bits")
    if picture.mode == "F":
        values = np.asarray(picture, np.float64)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
            raise ValueError("holds floating values outside of [0, 1] and [0, 255]")
        return _gray(values * 255 if values.max() <= 1 else values)
    return picture.convert("RGB")


def _gray(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")


@contextmanager
def _opened(path: Path, where: str) -> Iterator[Image.Image]:
    """Open a file; whatever its content makes PIL raise, also inside the block, is a ``PictureError``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures and odd EXIF; what cannot be read is an error
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise ValueError(f"is of {picture.width} x {picture.height}, more than {MOST_PIXELS:,} pixels")
                yield picture
    except FileNotFoundError as error:
        raise PictureError(where, "no such file", "no such file") from error
    except Image.DecompressionBombError as error:
        reason = f"is of more than {MOST_PIXELS:,} pixels"
        raise PictureError(where, reason, reason) from error
    except Exception as error:  # PIL's decoders raise nearly anything on damaged files, from struct.error to TypeError
        reason = one_line(error) or type(error).__name__
        raise PictureError(where, f"cannot be read as a picture: {reason}", reason) from error


def picture_files(folder: Path) -> list[Path]:
    """Return the picture files in a folder and below it, in the natural order of their names; no hidden ones."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not is_hidden(path, folder))
    return sorted((path for path in found if path.is_file()), key=natural_order)


def is_hidden(path: Path, folder: Path) -> bool:
    """Say whether a path below ``folder`` is hidden there, or lies in a hidden folder."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a sorting key that puts ``2.png`` before ``10.png``."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts]


def rotation_note(num_rotated: int) -> str | None:
    """Return what is said of pictures that were read as stored though EXIF asks for a rotation; None without any."""
    if not num_rotated:
        return None
    return f"{count(num_rotated, 'picture')} with an EXIF rotation, read as stored, without it"


def content_digest(path: Path, where: str) -> str:
    """Return the SHA-256 of a file.

    Raises:
        UserError: it cannot be read.
    """
    with (
        reworded(OSError, UserError, f"{where}: cannot be read: "),
        reworded(FileNotFoundError, lambda why: UserError(f"{where}: no such file")),
        path.open("rb") as file,
    ):
        return hashlib.file_digest(file, "sha256").hexdigest()
