"""InitNO (CVPR 2024, arXiv 2404.04650): noise whose attention maps show every subject, each in its own place.

A shift and a stretch of the noise, z = z_0 exp(log_variance / 2) + mean, are moved by Adam against a loss on the
conditional branch's attention at the first timestep, L = L_cross + L_self + L_clean (see ``runtime.attention``), and
are held within a divergence of 1e-3 from N(0, I). A noise with L_cross < 0.2 and L_self < 0.3 is a success. Up to 5
rounds of 10 steps start from fresh noise each; where none succeeds, 50 more steps start from the noise that had come
closest.

This is the noise optimisation alone. The authors' script also guides the sampling by the same losses
(``run_sd=False``), so their "InitNO" is more than a better noise; here the sampling is left as it is.

Departures, all repairs of the published code: the divergence is brought below its limit by a capped loop (theirs can
run for ever, their issue 2); the noise returned is the one whose loss was measured, not the step after it; the first
success ends the search; fresh noise comes from the sample's generator; batched over prompts. L_self, which counts as 0
in the loss while L_cross > 0.5, counts as 1 when noises are ranked, as theirs does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from npnet.fields import Count, NotEmpty, NotNegative, Positive, Whole
from npnet.noise.base import NoiseMethod
from npnet.noise.search import Budget

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits

Places = Annotated[tuple[Count, ...], NotEmpty()]
TokenIndices = Places | Annotated[Mapping[str, Places], NotEmpty()] | None
"""The same places for every prompt, places by prompt, or none: found from the prompt."""


@dataclass(frozen=True)
class InitNO(NoiseMethod):
    """Initial noise optimisation by attention maps, for UNets of diffusers.

    Args:
        num_inference_steps: sets the first timestep; the default is the sampling's.
        token_indices: places of the subjects among the prompt's tokens, the start token being 0: a list for every
            prompt, ``{prompt: list}``, or None: found from the prompt, see ``runtime.tokens``.
        num_rounds: fresh starts (published: 5).
        round_steps: steps of each (published: 10).
        final_steps: steps from the best start where no round succeeded (published: 50).
        learning_rate: of Adam (published: 1e-2, eps 1e-3).
        cross_target: L_cross of a success (published: 0.2).
        self_target: L_self of a success (published: 0.3).
        divergence_limit: published: 1e-3.
        divergence_steps: cap of the loop that keeps the limit, see ``pull_back`` (our choice: 20).
        budget: see ``search.Budget``.

    Cost: at most ``num_rounds`` x ``round_steps`` + ``final_steps`` conditional forwards (100), and as many backwards
    less one for each start; fewer where a round succeeds. No scorer.
    """

    runtime = "npnet.noise.runtime.initno:LoadedInitNO"
    needs = ("cross_attention_maps",)

    num_inference_steps: Count
    token_indices: TokenIndices = None
    num_rounds: Count = 5
    round_steps: Count = 10
    final_steps: Whole = 50
    learning_rate: Positive = 1e-2
    cross_target: NotNegative = 0.2
    self_target: NotNegative = 0.3
    divergence_limit: Positive = 1e-3
    divergence_steps: Whole = 20
    budget: Budget = field(default=Budget(), kw_only=True)

    def forwards(self, backbone: BackboneTraits) -> None:
        """See ``NoiseMethod.forwards``: depends on when a round succeeds."""
