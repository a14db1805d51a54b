"""How a network that was trained for one latent size is applied to another.

Two branches depend on the size for which they were trained: the SVD through its matrix, the Swin through its positions.
Resizing the noise to that size and back would make neighbours equal or correlated, and the variance wrong (0.54 to 0.66
after bilinear resizing). A diffusion model draws bad pictures from noise that is not white. So nothing is resized:

1. the noise is padded at the bottom and right with fresh white noise to a whole number of windows of the trained size;
2. the windows, which do not overlap, go through the network, each with the prompt of its sample;
3. they are put back together and the padding is cut off.

Every value of the output belongs to exactly one window, so variance and whiteness are those of the trained network. The
padding comes from a fixed seed, the same for every sample: the result depends neither on the batch nor on the call.
Noise that is smaller than a window becomes one padded window. For example, weights for 128 x 128 latents need two
windows for the 96 x 168 latents of a 768 x 1344 picture. The spatial text term is computed for the whole picture and
then cut, so that the layout of a prompt is not repeated in each window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from npnet.seeding import named_seed, source_noise


@dataclass(frozen=True)
class Windows:
    """How noise of ``size`` is cut into windows.

    Attributes:
        size: (h, w) of the noise.
        window: (h, w) of each window.
    """

    size: tuple[int, int]
    window: tuple[int, int]

    @classmethod
    def of(cls, size: Sequence[int], window: Sequence[int] | None) -> Windows:
        """Plan the windows of noise of ``size``; ``window`` None takes the noise whole."""
        height, width = size
        return cls((height, width), (height, width) if window is None else (window[0], window[1]))

    @property
    def counts(self) -> tuple[int, int]:
        """Number of windows down and across."""
        return -(-self.size[0] // self.window[0]), -(-self.size[1] // self.window[1])

    @property
    def number(self) -> int:
        """Number of windows for each sample."""
        return self.counts[0] * self.counts[1]

    @property
    def _missing(self) -> tuple[int, int]:
        rows, columns = self.counts
        return rows * self.window[0] - self.size[0], columns * self.window[1] - self.size[1]

    def split(self, noise: Tensor) -> Tensor:
        """Cut noise into windows, padded with fresh noise: ``(B, C, h, w)`` -> ``(B * number, C, *window)``."""
        down, right = self._missing
        if down or right:
            shape = (noise.shape[1], self.size[0] + down, self.size[1] + right)
            canvas = source_noise(named_seed(0, "padding of windows"), shape).to(noise)
            canvas = canvas.repeat(len(noise), 1, 1, 1)
            canvas[:, :, : self.size[0], : self.size[1]] = noise
            noise = canvas
        return self._cut(noise)

    def split_map(self, smooth: Tensor) -> Tensor:
        """Cut a smooth map the same way, padded by its edge values."""
        down, right = self._missing
        return self._cut(F.pad(smooth, (0, right, 0, down), mode="replicate") if down or right else smooth)

    def repeat(self, per_sample: Tensor) -> Tensor:
        """Give every window its sample's row: ``(B, ...)`` -> ``(B * number, ...)``."""
        return per_sample if self.number == 1 else per_sample.repeat_interleave(self.number, 0)

    def join(self, windows: Tensor) -> Tensor:
        """Put the windows back together and cut the padding off: ``(B * number, C, *window)`` -> ``(B, C, h, w)``."""
        rows, columns = self.counts
        whole = windows.unflatten(0, (-1, rows, columns)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return whole[:, :, : self.size[0], : self.size[1]]

    def _cut(self, whole: Tensor) -> Tensor:
        if self.number == 1:
            return whole
        rows, columns = self.counts
        cut = whole.unflatten(3, (columns, -1)).unflatten(2, (rows, -1))
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def nearest_index(source: int, target: int, device: torch.device) -> Tensor:
    """Return the source index of each of ``target`` cells under torch's nearest resizing, ``(target,)`` int64."""
    positions = torch.arange(source, dtype=torch.float32, device=device)
    return F.interpolate(positions[None, None], size=target, mode="nearest")[0, 0].long()
