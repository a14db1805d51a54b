"""Zero-order search: climb by random steps around the best noise so far, without gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npnet.fields import Count, Share, Whole
from npnet.noise.search import SearchMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits


@dataclass(frozen=True)
class ZeroOrderSearch(SearchMethod):
    """Zero-order search ("Inference-time scaling for diffusion models beyond scaling denoising steps", 2501.09732).

    Round 0 scores the given noise, which is the first pivot. Each further round scores ``num_candidates`` neighbours of
    the pivot and moves it to the best noise seen so far; the paper moves to the best neighbour even where the pivot was
    better. Mixing with sqrt(1 - radius^2) keeps the variance.

    Args:
        num_inference_steps: see ``SearchMethod``.
        guidance_scale: see ``SearchMethod``.
        scorer: see ``SearchMethod``; needs no gradients.
        num_rounds: K (our choice: 4).
        num_candidates: N neighbours a round (our choice: 4).
        radius: in [0, 1]: 0 stays at the pivot, 1 draws a fresh noise (our choice: 0.3).
        budget: see ``SearchMethod``, and for ``threshold``, ``proposal`` (of the first pivot) and ``network_path``.

    Cost: (K N + 1) x ``num_inference_steps`` forwards (twice under guidance), K N + 1 scorer calls.
    """

    runtime = "npnet.noise.runtime.zero_order_search:LoadedZeroOrderSearch"

    num_rounds: Whole = 4
    num_candidates: Count = 4
    radius: Share = 0.3

    @property
    def num_scored(self) -> int:
        """Return how many noises are scored."""
        return self.num_rounds * self.num_candidates + 1

    def forwards(self, backbone: BackboneTraits) -> int | None:
        """See ``NoiseMethod.forwards``."""
        return self.foretold(self.num_scored, backbone)
