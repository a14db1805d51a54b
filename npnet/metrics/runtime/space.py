"""The runtime of a space of features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.description import Description


class LoadedSpace(ABC):
    """A loaded space of features, with fixed weights.

    Attributes:
        space: its description.
        device: the device that computes; pictures may be on another one.
    """

    def __init__(self, space: Description, device: torch.device | str = "cpu") -> None:
        self.space, self.device = space, torch.device(device)

    @abstractmethod
    def features(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return the features of pictures, each by itself.

        Args:
            images: ``(B, 3, H, W)`` floating, in [0, 1].
            prompts: B texts, for a space that reads a picture by its prompt.

        Returns:
            ``(B, D)`` float32. A picture without features has a row of NaN. Where the space is differentiable,
            gradients flow from the features to the pictures.
        """
