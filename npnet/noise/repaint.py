"""Repaint: denoise a little, add fresh noise and denoise again. This is the baseline in the SDXL table of Golden Noise.

RePaint (Lugmayr et al., CVPR 2022) resamples along the whole schedule. The code of Golden Noise does so at the first
step only, in a function that none of its scripts calls. This method has that form. From a level s back up to a level t,

    x_t = r x_s + sqrt(sigma_t^2 - r^2 sigma_s^2) z,   r = alpha_t / alpha_s,   z ~ N(0, I),

which is r x_s + sqrt(1 - r^2) z for variance-preserving families, and does not change the marginal distribution of x_t.
In flow matching, alpha = 0 at t = 1, so r = 0 and nothing of the denoised state would be kept. The method is refused
there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npnet.backbones.traits import num_branches
from npnet.bounds import Guidance
from npnet.errors import FieldError, UserError
from npnet.fields import Count
from npnet.noise.base import NoiseMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits


def keeps_nothing(backbone: str) -> UserError:
    """Build the error for a model that starts at pure noise."""
    return UserError(
        f"{backbone} starts at pure noise (as flow matching does, at t = 1), where renoising keeps nothing of the "
        "denoised state; use another noise method"
    )


@dataclass(frozen=True)
class Repaint(NoiseMethod):
    """Renoising at the first step.

    Args:
        guidance_scale: of the steps down; the default is the sampling's.
        num_inference_steps: sets the steps' length; the default is the sampling's.
        jump_length: sampler steps taken down before renoising (Golden Noise: 1; RePaint itself: 10).
        repeats: times the jump is taken (Golden Noise: 1; RePaint itself: 10).

    Cost: ``jump_length`` x ``repeats`` forwards (twice that with guidance). Sampling from the source noise can reuse
    the first.
    """

    runtime = "npnet.noise.runtime.repaint:LoadedRepaint"
    # at 4 steps most of the returned noise is fresh, and the rest is a guided prediction of larger variance
    variance_bound = (0.5, 3.0)

    guidance_scale: Guidance
    num_inference_steps: Count
    jump_length: Count = 1
    repeats: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jump_length > self.num_inference_steps:
            needed = f"there are {self.num_inference_steps} steps (num_inference_steps)"
            raise FieldError("jump_length", self.jump_length, needed)

    def check_backbone(self, backbone: BackboneTraits) -> None:
        """See ``NoiseMethod.check_backbone``: flow models start at t = 1."""
        super().check_backbone(backbone)
        if backbone.kind == "flow":
            raise keeps_nothing(backbone.name)

    def forwards(self, backbone: BackboneTraits) -> int:
        """See ``NoiseMethod.forwards``."""
        return self.jump_length * self.repeats * num_branches(backbone, self.guidance_scale)

    def shares_first_evaluation(self, num_inference_steps: int) -> bool:
        """See ``NoiseMethod.shares_first_evaluation``."""
        return num_inference_steps == self.num_inference_steps and self.guidance_scale != 1
