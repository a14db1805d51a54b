"""What a space of features is once it is loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.description import Description


class LoadedSpace(ABC):
    """A loaded space: fixed weights.

    Attributes:
        space: its description.
        device: where it computes; pictures may lie elsewhere.
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
            ``(B, D)`` float32, a row of NaN for a picture that has no place in the space. Where the space is
            differentiable gradients flow from them to the pictures.
        """
