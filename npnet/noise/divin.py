"""DivIn: one Langevin step away from noises whose prompt pulls hardest (ICML 2026, arXiv 2606.02453).

"Initialization is half the battle: generating diverse images from a guidance potential posterior".
U(z) = ||x_0(z, prompt) - x_0(z, no prompt)|| of the first evaluation measures how hard the prompt pulls. Where it is
large, the pictures of a prompt look alike. The method takes one Langevin step towards p(z) ~ exp(-tau U(z)) N(z; 0, I):
z' = z - eta (tau grad U(z) + z) + sqrt(2 eta) xi, xi ~ N(0, I).

This is a method for diversity. It raises no score, and the paper reports slightly lower scores in some combinations.
At ``temperature`` 0 there is no gradient: the result is a fresh draw near the given noise, and its variance is 1 +
eta^2.

The method follows the abstract and summaries of the paper. The authors' code has no licence and was not read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from npnet.bounds import Above, AtMost, NotNegative
from npnet.errors import UserError
from npnet.fields import Count
from npnet.noise.base import NoiseMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits


@dataclass(frozen=True)
class DivIn(NoiseMethod):
    """Diversity-inducing initialisation.

    Args:
        num_inference_steps: sets the first timestep; the default is the sampling's.
        temperature: tau (published: 0.5 to 1; our choice: 0.5).
        step_size: eta, in (0, 1] (published: 0.05).
        num_steps: Langevin steps (published: 1).

    Cost: 2 ``num_steps`` forwards and as many backwards.
    """

    runtime = "npnet.noise.runtime.divin:LoadedDivIn"
    needs = ("unconditional_branch",)

    num_inference_steps: Count
    temperature: NotNegative = 0.5
    step_size: Annotated[float, Above(0), AtMost(1)] = 0.05
    num_steps: Count = 1

    def check_backbone(self, backbone: BackboneTraits) -> None:
        """See ``NoiseMethod.check_backbone``; the first level must hold some of the picture, so that x_0 is defined."""
        super().check_backbone(backbone)
        schedule = backbone.schedule()
        if (
            backbone.kind != "flow"
            and schedule.coefficients(schedule.timesteps(self.num_inference_steps)[0]).alpha == 0
        ):
            raise UserError(f"{backbone.name} starts at pure noise, where no x_0 is defined; use another noise method")

    def forwards(self, backbone: BackboneTraits) -> int:
        """See ``NoiseMethod.forwards``."""
        return 2 * self.num_steps
