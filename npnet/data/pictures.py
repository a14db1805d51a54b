"""Pictures as files: the edge at which tensors become bytes."""

from __future__ import annotations

import io

from torch import Tensor

LOSSLESS_PIXELS = 256
"""Pictures up to this side are kept exactly; the loss of larger ones is invisible."""


def encode_webp(image: Tensor, quality: int = 90) -> bytes:
    """Encode a picture ``(3, H, W)`` in [0, 1], or the middle frame of a video ``(F, 3, H, W)``, as webp.

    ``quality`` is of pictures larger than ``LOSSLESS_PIXELS``; values that are not finite become the ends of the range.
    """
    from PIL import Image

    frame = image[len(image) // 2] if image.ndim == 4 else image
    array = (frame.detach().cpu().float().nan_to_num().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "webp", lossless=max(array.shape) <= LOSSLESS_PIXELS, quality=quality)
    return buffer.getvalue()
