"""The preprocessing of pictures, as the authors of each checkpoint do it, for tensors and for PIL pictures.

Three ways of fitting a picture into a square exist among the published metrics:

- ``crop``: the shortest side to ``size``, then the middle square (CLIP and its kin, ImageReward);
- ``pad``: the longest side to ``size``, then a black border (HPSv2);
- ``square``: a border in the mean colour makes it square, then it is resized (CLIP-FlanT5, LLaVA).

All resize by bicubic interpolation with antialiasing. Authors who resize with PIL work on 8-bit values. So ``pil``
rounds to 1/255 after each of its two passes and clips values outside the range. ``tensor`` makes the same passes and
clips as well, but does not round, so that gradients flow. The two differ only by rounding: up to 1.1/255 in a pixel and
0.3/255 on average, before normalisation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from PIL import Image as Images
from PIL.Image import Image
from torch import Tensor

from npnet.metrics.base import Metric
from npnet.metrics.runtime.base import Scorer, to_tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocess:
    """Fit, resize and normalise.

    Attributes:
        size: side of the square that comes out, in pixels.
        fit: see the module's docstring.
        middle: how ``crop`` splits an odd remainder: ``round`` is torchvision's rule (OpenAI's CLIP, ImageReward),
            ``floor`` that of transformers' processors (PickScore, MPS).
        eight_bit: the authors resize 8-bit pictures with PIL; false where they resize floating tensors (HPSv2), and
            ``pil`` then does what ``tensor`` does.
        antialias: of the resizing of tensors.
    """

    size: int = 224
    fit: Literal["crop", "pad", "square"] = "crop"
    middle: Literal["round", "floor"] = "round"
    eight_bit: bool = True
    antialias: bool = True
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def tensor(self, images: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in [0, 1] -> ``(B, 3, size, size)`` normalised float32; differentiable."""
        images = images.float()
        if self.fit == "square":
            height, width = images.shape[-2:]
            images = _surround(images, max(height, width), [value / 255 for value in self._border()])
        height, width = self._resized(*images.shape[-2:])
        if self.eight_bit:
            images = resized_as_pil(images, height, width, self.antialias)
        else:
            images = _resized(images, height, width, self.antialias)
        if self.fit == "pad":
            images = _surround(images, self.size, [0.0, 0.0, 0.0])
        top, left = self._corner(height, width)
        images = images[..., top : top + self.size, left : left + self.size]
        return normalised(images, self.mean, self.std)

    def pil(self, pictures: Sequence[Image]) -> Tensor:
        """RGB pictures of any sizes -> ``(B, 3, size, size)`` normalised float32, exactly as the authors do it."""
        if not self.eight_bit:
            return torch.cat([self.tensor(to_tensor(picture)[None]) for picture in pictures])
        fitted = torch.stack([to_tensor(self._fitted(picture)) for picture in pictures])
        return normalised(fitted, self.mean, self.std)

    def _fitted(self, picture: Image) -> Image:
        if self.fit == "square" and picture.width != picture.height:
            side = max(picture.size)
            square = Images.new("RGB", (side, side), self._border())
            square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
            picture = square
        height, width = self._resized(picture.height, picture.width)
        if (width, height) != picture.size:
            picture = picture.resize((width, height), Images.Resampling.BICUBIC)
        top, left = self._corner(height, width)
        return picture.crop((left, top, left + self.size, top + self.size))

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        if self.fit == "pad":
            scale = self.size / max(height, width)
            return max(1, round(height * scale)), max(1, round(width * scale))
        long = int(self.size * max(height, width) / min(height, width))
        return (long, self.size) if height >= width else (self.size, long)

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        rests = max(0, height - self.size), max(0, width - self.size)
        top, left = (rest // 2 if self.middle == "floor" else round(rest / 2) for rest in rests)
        return top, left

    def _border(self) -> tuple[int, int, int]:
        red, green, blue = (int(value * 255) for value in self.mean)
        return red, green, blue


def resized_as_pil(images: Tensor, height: int, width: int, antialias: bool = True) -> Tensor:
    """Resize ``(B, 3, H, W)`` in [0, 1] by PIL's bicubic filter without its rounding; differentiable.

    PIL's order: along the rows, cut off what overshoots, then along the columns.
    """
    images = _resized(images, images.shape[-2], width, antialias).clamp(0, 1)
    return _resized(images, height, width, antialias).clamp(0, 1)


def _resized(images: Tensor, height: int, width: int, antialias: bool) -> Tensor:
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, (height, width), mode="bicubic", antialias=antialias, align_corners=False)


def normalised(images: Tensor, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD) -> Tensor:
    """Subtract a mean of each channel from ``(B, 3, H, W)`` and divide by a deviation."""
    centre, width = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (mean, std))
    return (images - centre) / width


def _surround(images: Tensor, side: int, colour: Sequence[float]) -> Tensor:
    """Put pictures into the middle of a square of one colour; an odd rest goes right and below."""
    height, width = images.shape[-2:]
    if (height, width) == (side, side):
        return images
    top, left = (side - height) // 2, (side - width) // 2
    borders = (left, side - width - left, top, side - height - top)
    channels = [F.pad(images[:, i : i + 1], borders, value=value) for i, value in enumerate(colour)]
    return torch.cat(channels, dim=1)


class PixelScorer(Scorer):
    """A scorer whose model reads squares of normalised pixels, made by ``preprocess``."""

    def __init__(
        self,
        metric: Metric,
        device: torch.device | str,
        preprocess: Preprocess,
        text_length: int | None = None,
        smoke: bool = False,
    ) -> None:
        super().__init__(metric, device, text_length, smoke)
        self.preprocess = preprocess

    @abstractmethod
    def _score_pixels(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score preprocessed pictures: ``(B, 3, size, size)`` -> ``(B,)`` float32."""

    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return self._score_pixels(self.preprocess.tensor(images), prompts)

    def _score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        return self._score_pixels(self.preprocess.pil(pictures), prompts)
