"""Noise that replaces guidance (NoiseRefine, arXiv 2412.03895), which halves the cost of sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from npnet.errors import FieldError
from npnet.training.drawn import OF_PICTURES, SHAPE_OF_NOISE, DescribedModels, DrawnObjective

if TYPE_CHECKING:
    from npnet.training.run_settings import RunSettings


@dataclass(frozen=True)
class GuidanceFree(DrawnObjective):
    """Train the network so that unguided sampling from its noise gives what guided sampling from the noise gives.

    The loss is the mean squared distance of the two clean latents. ``guidance_scale`` belongs to the guided side; the
    network is for sampling at 1. No metric is optimised. Experimental.
    """

    runtime = "npnet.training.guidance_free_module:GuidanceFreeModule"
    name = "guidance_free"
    needs = ("unconditional_branch", "decode")

    def monitored(self, settings: RunSettings) -> Sequence[str]:
        """See ``Objective.monitored``."""
        names = ("x0_error", "relative_x0_error", *(settings.metric or {}), *SHAPE_OF_NOISE, *OF_PICTURES)
        return ("train/loss", "train/x0_error", *(f"val/{name}" for name in names))

    def described(self, settings: RunSettings) -> DescribedModels:
        """See ``DrawnObjective.described``; without guidance there is nothing to learn."""
        found = super().described(settings)
        if found.guidance_scale <= 1:
            raise FieldError("objective.guidance_scale", found.guidance_scale, "guidance above 1 is needed")
        return found
