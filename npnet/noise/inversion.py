"""Re-denoise sampling: one denoising step under strong guidance, one step back under weak guidance.

Golden Noise, equations 1 and 2 and theorem E.1. With A, B the coefficients of the deterministic step t0 -> t1
(``Backbone.step_coefficients``), the two steps are x1 = A x + B eps_l and x' = (x1 - B eps_w) / A, so

    x' = x + K (eps_l - eps_w),   K = B / A = (a0 s1 - a1 s0) / a1 < 0

for variance-preserving families (K = -0.385 at 10 steps of SDXL, -0.110 at 50) and K = t1 - t0 for flow matching,
where ``eps`` is the velocity. The code computes this closed form. It is exact where the two predictions agree. It also
needs no inverse scheduler, whose argument changed its meaning between diffusers versions.

Symbols: eps_l = prediction at (x, t0) under ``guidance_scale`` (the paper's w_l), eps_w = prediction at x1 under
``inversion_guidance_scale`` (w_w).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from npnet.backbones.schedules import END
from npnet.bounds import Guidance
from npnet.errors import FieldError
from npnet.fields import Count
from npnet.noise.base import NoiseMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits


@dataclass(frozen=True)
class Inversion(NoiseMethod):
    """Re-denoise sampling as a noise method: the paper's golden noise, and its "Inversion" baseline.

    Args:
        guidance_scale: w_l, diffusers convention; the default is the sampling's.
        inversion_guidance_scale: w_w, diffusers convention (published: 1.0).
        num_inference_steps: sets the first step's length; the default is the sampling's.
        cycles: how often the noise is re-denoised (published: 1).
        time_label: see ``runtime.inversion.redenoise``.

    Cost: 3 forwards for each cycle at ``inversion_guidance_scale`` 1 (2 + 1), otherwise 4. Sampling from the source
    noise can reuse the first two.
    """

    runtime = "npnet.noise.runtime.inversion:LoadedInversion"
    needs = ("unconditional_branch",)
    # the step adds K (w_l - w_w)(cond - uncond), which at 4 steps and strong guidance is as large as the noise
    variance_bound = (0.5, 3.0)

    guidance_scale: Guidance
    inversion_guidance_scale: Guidance
    num_inference_steps: Count
    cycles: Count = 1
    time_label: Literal["destination", "source"] = "destination"

    def check_backbone(self, backbone: BackboneTraits) -> None:
        """See ``NoiseMethod.check_backbone``.

        Raises:
            FieldError: the only step leads from noise to the picture, so there is no step back.
        """
        super().check_backbone(backbone)
        steps = self.num_inference_steps
        if backbone.schedule().steps(steps)[0].to_timestep == END:
            raise FieldError("num_inference_steps", steps, "the first step ends at the picture; 2 or more are needed")

    def forwards(self, backbone: BackboneTraits) -> int:
        """See ``NoiseMethod.forwards``: 2 + (1 or 2) for each cycle."""
        return self.cycles * (3 if self.inversion_guidance_scale == 1 else 4)

    def shares_first_evaluation(self, num_inference_steps: int) -> bool:
        """See ``NoiseMethod.shares_first_evaluation``: with the same number of steps both start at the same level."""
        return num_inference_steps == self.num_inference_steps
