"""The small network behind the AES and ImageReward scores: five linear layers in a row, no activations."""

from __future__ import annotations

from torch import Tensor, nn


class LinearHead(nn.Module):
    """``(B, width)`` -> ``(B,)``; the places 1, 3 and 5 held dropout in training and are empty here.

    Args:
        width: of the embedding.
        sizes: of the layers between.
    """

    def __init__(self, width: int, sizes: tuple[int, int, int, int] = (1024, 128, 64, 16)) -> None:
        super().__init__()
        a, b, c, d = sizes
        self.layers = nn.Sequential(
            nn.Linear(width, a),
            nn.Identity(),
            nn.Linear(a, b),
            nn.Identity(),
            nn.Linear(b, c),
            nn.Identity(),
            nn.Linear(c, d),
            nn.Linear(d, 1),
        )

    def forward(self, embeds: Tensor) -> Tensor:
        """Return the score of each row."""
        return self.layers(embeds).squeeze(-1)
