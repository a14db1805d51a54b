"""Conversion of tensors to picture files."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

LOSSLESS_PIXELS = 256
"""Pictures up to this side are kept exactly; the loss of larger ones is invisible."""
SHOWN_PIXELS = 320
"""Longer side of a picture in a page; larger ones are made smaller, smaller ones are shown enlarged, unsmoothed."""
ENLARGED_PIXELS = 96
"""Pictures smaller than this are enlarged."""


def to_picture(image: Tensor) -> Image.Image:
    """Return an RGB picture of ``(3, H, W)`` in [0, 1] or uint8, or of the middle frame of a video ``(F, 3, H, W)``.

    Values that are not finite become the ends of the range.
    """
    frame = image[len(image) // 2] if image.ndim == 4 else image
    if frame.is_floating_point():
        frame = (frame.detach().float().nan_to_num().clamp(0, 1) * 255).round().byte()
    frame = frame.cpu()
    return Image.fromarray(frame.permute(1, 2, 0).numpy())


def encode_webp(image: Tensor, quality: int = 90) -> bytes:
    """Encode a picture ``(3, H, W)`` in [0, 1] or uint8, or the middle frame of a video ``(F, 3, H, W)``, as webp.

    ``quality`` is of pictures larger than ``LOSSLESS_PIXELS``; values that are not finite become the ends of the range.
    """
    picture, buffer = to_picture(image), io.BytesIO()
    picture.save(buffer, "webp", lossless=max(picture.size) <= LOSSLESS_PIXELS, quality=quality)
    return buffer.getvalue()


def data_uri(data: bytes) -> tuple[str, bool]:
    """Return a webp file as a ``data:`` address, at most ``SHOWN_PIXELS`` wide; and whether it is to be enlarged."""
    with Image.open(io.BytesIO(data)) as picture:
        longer = max(picture.size)
        if longer > SHOWN_PIXELS:
            picture.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=88)
            data = buffer.getvalue()
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}", longer < ENLARGED_PIXELS
