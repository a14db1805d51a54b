"""Zero-order search: climb by random steps around the best noise so far, without gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from npnet import seeding
from npnet.errors import UserError
from npnet.noise.search import Scorers, Search, SearchMethod, at_least
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone


def neighbour(pivot: Tensor, fresh: Tensor, radius: float) -> Tensor:
    """Return sqrt(1 - radius^2) pivot + radius fresh: N(0, I) again where both are, and independent."""
    return math.sqrt(1 - radius**2) * pivot + radius * fresh


class ZeroOrderSearch(SearchMethod):
    """Zero-order search ("Inference-time scaling for diffusion models beyond scaling denoising steps", 2501.09732).

    Round 0 scores the noise that was given, the first pivot. Each further round scores ``num_candidates`` neighbours of
    the pivot and moves it to the best noise seen so far; the paper moves to the best neighbour even where the pivot
    was better. Mixing with sqrt(1 - radius^2) keeps the variance.

    Args:
        scorer: see ``SearchMethod``; needs no gradients.
        num_inference_steps: see ``SearchMethod``.
        guidance_scale: see ``SearchMethod``.
        num_rounds: K (our choice: 4).
        num_candidates: N neighbours a round (our choice: 4).
        radius: in [0, 1]: 0 stays, 1 draws anew (our choice: 0.3).
        budget: see ``SearchMethod``.

    Cost: (K N + 1) x ``num_inference_steps`` forwards (twice under guidance), K N + 1 scorer calls.
    """

    def __init__(
        self,
        scorer: Scorers,
        num_inference_steps: int,
        guidance_scale: float,
        num_rounds: int = 4,
        num_candidates: int = 4,
        radius: float = 0.3,
        budget: Mapping[str, float | None] | None = None,
    ) -> None:
        super().__init__(scorer, num_inference_steps, guidance_scale, budget)
        self.num_rounds = at_least("num_rounds", num_rounds, 0)
        self.num_candidates = at_least("num_candidates", num_candidates, 1)
        self.radius = at_least("radius", radius, 0, whole=False)
        if radius > 1:
            raise UserError(f"radius={radius}: a number between 0 and 1 is needed")

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``."""
        pivot = noise.to(backbone.device, torch.float32)
        search = Search(pivot, self.budget, "zero_order_search", self._num_scored, self.round_forwards(backbone))
        afforded = self.attempt(search, pivot, conditioning, backbone)
        for _ in range(self.num_rounds):
            pivot = search.best.clone()
            for _ in range(self.num_candidates):
                if afforded:
                    candidate = neighbour(pivot, seeding.randn_like(pivot, generators), self.radius)
                    afforded = self.attempt(search, candidate, conditioning, backbone)
        return search.result(noise)

    @property
    def _num_scored(self) -> int:
        return self.num_rounds * self.num_candidates + 1

    def forwards(self, backbone: Backbone) -> int | None:
        """See ``NoiseMethod.forwards``."""
        cost = self.round_forwards(backbone)
        return None if self.budget.seconds is not None else cost * self.budget.rounds(self._num_scored, cost)
