"""Best of N: draw N noises, keep the one whose picture scores best; what every search has to beat at equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from npnet import seeding
from npnet.noise.search import Scorers, Search, SearchMethod, at_least
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone


class BestOfN(SearchMethod):
    """Random search ("Inference-time scaling for diffusion models beyond scaling denoising steps", 2501.09732).

    The candidates are the noise that was given and ``num_candidates`` - 1 fresh draws, so one candidate is the
    standard noise, and costs nothing. Any metric can be the verifier; it needs no gradients.

    Args:
        scorer: the verifier, see ``SearchMethod``.
        num_inference_steps: see ``SearchMethod``.
        guidance_scale: see ``SearchMethod``.
        num_candidates: N (our choice: 4).
        budget: see ``SearchMethod``.

    Cost: N x ``num_inference_steps`` forwards (twice under guidance), N scorer calls; none at N = 1.
    """

    def __init__(
        self,
        scorer: Scorers,
        num_inference_steps: int,
        guidance_scale: float,
        num_candidates: int = 4,
        budget: Mapping[str, float | None] | None = None,
    ) -> None:
        super().__init__(scorer, num_inference_steps, guidance_scale, budget)
        self.num_candidates = at_least("num_candidates", num_candidates, 1)

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``."""
        if self.num_candidates == 1:
            return NoiseResult(noise)
        given = noise.to(backbone.device, torch.float32)
        search = Search(given, self.budget, "best_of_n", self.num_candidates, self.round_forwards(backbone))
        for index in range(self.num_candidates):
            candidate = given if index == 0 else seeding.randn_like(given, generators)
            if not self.attempt(search, candidate, conditioning, backbone):
                break
        return search.result(noise)

    def forwards(self, backbone: Backbone) -> int | None:
        """See ``NoiseMethod.forwards``."""
        if self.num_candidates == 1:
            return 0
        cost = self.round_forwards(backbone)
        return None if self.budget.seconds is not None else cost * self.budget.rounds(self.num_candidates, cost)
