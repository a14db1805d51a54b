"""Re-denoise sampling: one denoising step under strong guidance, one step back under weak guidance.

Golden Noise, equations 1 and 2 and theorem E.1. With A, B the coefficients of the deterministic step t0 -> t1
(``Backbone.step_coefficients``), the two steps are x1 = A x + B eps_l and x' = (x1 - B eps_w) / A, so

    x' = x + K (eps_l - eps_w),   K = B / A = (a0 s1 - a1 s0) / a1 < 0

for variance-preserving families (K = -0.385 at 10 steps of SDXL, -0.110 at 50) and K = t1 - t0 for flow matching,
where ``eps`` is the velocity. The closed form is what is computed: it is exact where the predictions agree, and it
needs no scheduler's inverse, whose argument changed meaning between diffusers versions.

Symbols: eps_l = prediction at (x, t0) under ``guidance_scale`` (the paper's w_l), eps_w = prediction at x1 under
``inversion_guidance_scale`` (w_w).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from npnet.errors import UserError, unknown
from npnet.noise.base import NoiseMethod
from npnet.noise.search import at_least
from npnet.records import Branches, Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone


def redenoise_gain(backbone: Backbone, from_timestep: float, to_timestep: float) -> float:
    """Return K of theorem E.1 for the step ``from_timestep`` -> ``to_timestep``."""
    scale, shift = backbone.step_coefficients(from_timestep, to_timestep)
    return shift / scale


def redenoise(
    backbone: Backbone,
    noise: Tensor,
    conditioning: Conditioning,
    *,
    num_inference_steps: int,
    guidance_scale: float,
    inversion_guidance_scale: float,
    time_label: Literal["destination", "source"] = "destination",
    first_branches: Branches | None = None,
) -> tuple[Tensor, Branches]:
    """Take one cycle of re-denoise sampling from ``noise``.

    Args:
        backbone: the model.
        noise: ``(B, C, *grid)``; computed in its dtype (float32 in the commands, float64 in tests).
        conditioning: B prompts.
        num_inference_steps: sets the length of the step, t0 -> t1.
        guidance_scale: of the denoising step, w_l.
        inversion_guidance_scale: of the step back, w_w; at 1 only the conditional branch runs.
        time_label: what the network is told in the evaluation for the step back: ``destination`` (t0, as equation 2
            writes and the published code does) or ``source`` (t1, as the proof of theorem E.1 writes).
        first_branches: the evaluation at (noise, t0), where it was made already.

    Returns:
        The golden noise, and the branches at (noise, t0), which sampling from ``noise`` can start from. Both branches
        are evaluated even at ``guidance_scale`` 1, so that sampling under any guidance can share them.
    """
    here, there = backbone.steps(num_inference_steps)[0]
    branches = first_branches
    if branches is None:
        branches = backbone.predict_branches(noise, here, conditioning)
    denoised_pred = backbone.guide(branches, guidance_scale)
    lower = backbone.move(noise, denoised_pred, here, there)
    label = here if time_label == "destination" else there
    inverted_pred = backbone.predict(lower, there, conditioning, inversion_guidance_scale, label=label)
    return noise + redenoise_gain(backbone, here, there) * (denoised_pred - inverted_pred), branches


class Inversion(NoiseMethod):
    """Re-denoise sampling as a noise method: the paper's golden noise, and its "Inversion" baseline.

    Args:
        guidance_scale: w_l, diffusers convention; the default is the sampling's.
        inversion_guidance_scale: w_w, diffusers convention (published: 1.0).
        num_inference_steps: sets the first step's length; the default is the sampling's.
        cycles: how often the step there and back is taken (published: 1).
        time_label: see ``redenoise``.

    Cost: 3 forwards (2 + 1 at ``inversion_guidance_scale`` 1) for each cycle, of which the first two serve the
    sampling from the source noise too.
    """

    needs = ("unconditional_branch",)
    # the step adds K (w_l - w_w)(cond - uncond): at 4 steps and strong guidance that is as large as the noise itself
    variance_bound = (0.5, 3.0)

    def __init__(
        self,
        guidance_scale: float,
        inversion_guidance_scale: float,
        num_inference_steps: int,
        cycles: int = 1,
        time_label: Literal["destination", "source"] = "destination",
    ) -> None:
        if not isinstance(cycles, int) or cycles < 1:
            raise UserError(f"cycles={cycles!r}: a whole number of at least 1 is needed")
        if time_label not in ("destination", "source"):
            raise unknown("time_label", time_label, ("destination", "source"))
        self.guidance_scale = float(at_least("guidance_scale", guidance_scale, 0, whole=False))
        self.inversion_guidance_scale = float(
            at_least("inversion_guidance_scale", inversion_guidance_scale, 0, whole=False)
        )
        self.num_inference_steps = at_least("num_inference_steps", num_inference_steps, 1)
        self.cycles = cycles
        self.time_label = time_label

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``; deterministic."""
        golden = noise.to(backbone.device, torch.float32)
        first = None
        for _ in range(self.cycles):
            golden, branches = redenoise(
                backbone,
                golden,
                conditioning,
                num_inference_steps=self.num_inference_steps,
                guidance_scale=self.guidance_scale,
                inversion_guidance_scale=self.inversion_guidance_scale,
                time_label=self.time_label,
            )
            first = branches if first is None else first
        return NoiseResult(golden.to(noise), first_branches=first)

    def forwards(self, backbone: Backbone) -> int:
        """See ``NoiseMethod.forwards``: 2 + (1 or 2) for each cycle."""
        return self.cycles * (3 if self.inversion_guidance_scale == 1 else 4)

    def shares_first_evaluation(self, num_inference_steps: int) -> bool:
        """See ``NoiseMethod.shares_first_evaluation``: with the same number of steps both start at the same level."""
        return num_inference_steps == self.num_inference_steps
