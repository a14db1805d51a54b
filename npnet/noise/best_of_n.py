"""Best of N: draw N noises and keep the one whose picture scores best. Every search must beat this at equal cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from npnet.fields import Count
from npnet.noise.search import SearchMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits


@dataclass(frozen=True)
class BestOfN(SearchMethod):
    """Random search ("Inference-time scaling for diffusion models beyond scaling denoising steps", 2501.09732).

    The candidates are the given noise and ``num_candidates`` - 1 fresh draws. With one candidate, the method returns
    the standard noise and costs nothing. Any metric can be the verifier, because it needs no gradients. With
    ``proposal``, the network changes every candidate first, so with one candidate the result is the network's noise.

    Args:
        num_inference_steps: see ``SearchMethod``.
        guidance_scale: see ``SearchMethod``.
        scorer: the verifier, see ``SearchMethod``.
        num_candidates: N (our choice: 4).
        drawn_first: with ``proposal``, the first candidate is the given noise as drawn, the second what the network
            makes of it. With ``threshold`` too, this is a gate: a noise whose picture is good enough stays as it is, so
            it costs one candidate and none of the diversity (ours, docs/frontier.md).
        budget: see ``SearchMethod``, and for ``threshold``, ``proposal`` and ``network_path``.

    Cost: N x ``num_inference_steps`` forwards (twice under guidance), N scorer calls; none at N = 1.
    """

    runtime = "npnet.noise.runtime.best_of_n:LoadedBestOfN"

    of_proposals: ClassVar[Mapping[str, object]] = {**SearchMethod.of_proposals, "drawn_first": False}

    num_candidates: Count = 4
    drawn_first: bool = field(default=False, kw_only=True)

    def finishes(self, backbone: BackboneTraits, num_inference_steps: int, guidance_scale: float) -> bool:
        """See ``NoiseMethod.finishes``; a single candidate is not sampled."""
        return self.num_candidates > 1 and super().finishes(backbone, num_inference_steps, guidance_scale)

    def forwards(self, backbone: BackboneTraits) -> int | None:
        """See ``NoiseMethod.forwards``."""
        return 0 if self.num_candidates == 1 else self.foretold(self.num_candidates, backbone)
