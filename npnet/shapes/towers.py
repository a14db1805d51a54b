"""The convolutional image tower and the contrastive loss with hard negatives.

The scorer and the text encoders each train a tower of their own from another seed: code is shared, weights are not.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from npnet.shapes import IMAGE_SIZE

__all__ = ["ImageTower", "contrastive_loss"]


class ImageTower(nn.Module):
    """Pictures (B, 3, 32, 32) in [0, 1] to embeddings (B, dimension) of unit length.

    The last 4 x 4 map is flattened, not averaged: where things are is what relations are about.
    """

    def __init__(self, widths: tuple[int, ...], dimension: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 3
        for width in widths:
            layers += [
                nn.Conv2d(previous, width, 3, stride=2, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
                Residual(width),
            ]
            previous = width
        side = IMAGE_SIZE >> len(widths)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(previous * side**2, dimension))

    def forward(self, images: Tensor) -> Tensor:
        """Embed pictures."""
        return F.normalize(self.body(2 * images - 1), dim=-1)


class Residual(nn.Module):
    """x + conv(silu(norm(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, h, w) to the same."""
        return x + self.body(x)


def contrastive_loss(images: Tensor, texts: Tensor, negatives: Tensor, scale: float) -> Tensor:
    """Return symmetric InfoNCE over a batch (Radford et al. 2021) with hard negatives of each picture's own.

    Args:
        images: (B, D) unit length.
        texts: (B, D) unit length, the caption of each picture; no two may mean the same.
        negatives: (B, K, D) unit length, captions that are wrong for the same picture only.
        scale: inverse temperature.
    """
    matching = torch.arange(len(images))
    logits = images @ texts.T
    hard = torch.einsum("bd,bkd->bk", images, negatives)
    to_text = F.cross_entropy(scale * torch.cat([logits, hard], 1), matching)
    return 0.5 * (to_text + F.cross_entropy(scale * logits.T, matching))
