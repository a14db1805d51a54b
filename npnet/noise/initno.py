"""InitNO (CVPR 2024, arXiv 2404.04650): optimise the noise until attention maps show every subject in its own place.

Adam optimises a shift and a stretch of the noise, z = z_0 exp(log_variance / 2) + mean. The loss is L = L_cross +
L_self + L_clean, on the attention of the conditional branch at the first timestep (see ``runtime.attention``). The
divergence from N(0, I) is kept below 1e-3. A noise with L_cross < 0.2 and L_self < 0.3 is a success. There are up to 5
rounds of 10 steps, each from fresh noise. If none succeeds, 50 more steps start from the noise that came closest.

Only the noise is optimised here. The authors' script also guides the sampling by the same losses (``run_sd=False``), so
their "InitNO" is more than better noise.

Differences from the published code: the loop that brings the divergence below its limit has a cap (theirs can run for
ever, see their issue 2); the returned noise is the one whose loss was measured, not the step after it; the first
success ends the search; fresh noise comes from the sample's generator; prompts are batched. As in the published code,
while L_cross > 0.5, L_self counts as 0 in the loss and as 1 when noises are ranked.
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
