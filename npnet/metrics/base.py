"""The contract of metrics: pictures and prompts in, one score for each picture out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from npnet.records import require_images


class Metric(ABC):
    """One preference metric; a member is one file here and one YAML in ``conf/metric/``.

    ``score`` is on the published scale and higher is better; papers often print ``display_scale`` times it.
    """

    differentiable: bool = False
    uses_prompt: bool = True
    display_scale: float = 1.0
    """What papers multiply the score with when they print it; never part of the score."""
    domain: str = "any"
    """``shapes``: judges pictures of the built-in model only."""

    def __init__(self) -> None:
        self.calls = 0
        """Pictures scored so far: the cost of a search is measured, not declared."""

    def check(self) -> None:
        """Refuse, in one line and before any model is loaded, paths and values that cannot work."""

    @abstractmethod
    def load(self, device: torch.device | str = "cpu") -> Self:
        """Load the weights; called once."""

    @abstractmethod
    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score checked pictures: ``(B, 3, H, W)`` -> ``(B,)`` float32."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score pictures against their prompts.

        Args:
            images: ``(B, 3, H, W)`` floating, in [0, 1], any size.
            prompts: B texts.

        Returns:
            ``(B,)`` float32, higher is better, independent of the rest of the batch.

        Raises:
            ValueError: pictures out of range or shape, or another number of prompts.
        """
        require_images(images)
        if len(prompts) != len(images):
            raise ValueError(f"got {len(images)} images and {len(prompts)} prompts")
        self.calls += len(images)
        return self._score(images, list(prompts))

    def compare(self, a: Tensor, b: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return ``(B,)``, the probability that picture ``a`` is preferred to ``b``: 1, 0.5 or 0 by the scores.

        Metrics that publish a rule of their own (PickScore, MPS: softmax over the pair) use that instead.
        """
        return preference_by_order(self.score(a, prompts), self.score(b, prompts))


def preference_by_order(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 where ``a`` > ``b``, 0.5 where equal, 0 where less; float32."""
    return ((a > b).float() + (a >= b).float()) / 2
