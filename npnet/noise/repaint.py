"""Repaint: denoise a little, add fresh noise back, denoise again; the baseline of Golden Noise's SDXL table.

RePaint (Lugmayr et al., CVPR 2022) resamples along the whole schedule. Golden Noise's code has it at the first step
only, in a function that none of its scripts calls; that form is this method. From a level s back up to a level t,

    x_t = r x_s + sqrt(sigma_t^2 - r^2 sigma_s^2) z,   r = alpha_t / alpha_s,   z ~ N(0, I),

which is r x_s + sqrt(1 - r^2) z for variance-preserving families, and leaves the marginal of x_t as it was. Flow
matching has alpha = 0 at t = 1: r is 0, nothing of the denoised state is kept, and the method is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from npnet import seeding
from npnet.errors import UserError
from npnet.noise.base import NoiseMethod
from npnet.noise.search import at_least
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone


def renoise(
    backbone: Backbone,
    latents: Tensor,
    from_timestep: float,
    to_timestep: float,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """Diffuse ``latents`` from a level up to a noisier one; the identity between equal levels."""
    (alpha_s, sigma_s), (alpha_t, sigma_t) = map(backbone.coefficients, (from_timestep, to_timestep))
    ratio = alpha_t / alpha_s
    spread = math.sqrt(max(0.0, sigma_t**2 - (ratio * sigma_s) ** 2))
    return ratio * latents + spread * seeding.randn_like(latents, generators)


def _keeps_nothing(label: str, backbone: Backbone) -> UserError:
    return UserError(
        f"noise.{label}: {backbone.name} starts at pure noise (as flow matching does, at t = 1), where "
        "renoising keeps nothing of the denoised state; use another noise method"
    )


class Repaint(NoiseMethod):
    """Renoising at the first step.

    Args:
        guidance_scale: of the steps down; the default is the sampling's.
        num_inference_steps: sets the steps' length; the default is the sampling's.
        jump_length: sampler steps taken down before renoising (Golden Noise: 1; RePaint itself: 10).
        repeats: times the jump is taken (Golden Noise: 1; RePaint itself: 10).

    Cost: ``jump_length`` x ``repeats`` forwards (twice under guidance), of which the first serves the sampling from the
    source noise too.
    """

    # at 4 steps most of the returned noise is fresh, the rest is a guided prediction of larger variance
    variance_bound = (0.5, 3.0)

    def __init__(self, guidance_scale: float, num_inference_steps: int, jump_length: int = 1, repeats: int = 1) -> None:
        self.guidance_scale = float(at_least("guidance_scale", guidance_scale, 0, whole=False))
        self.num_inference_steps = at_least("num_inference_steps", num_inference_steps, 1)
        self.jump_length = at_least("jump_length", jump_length, 1)
        self.repeats = at_least("repeats", repeats, 1)
        if jump_length > num_inference_steps:
            raise UserError(f"jump_length={jump_length}: there are {num_inference_steps} steps (num_inference_steps)")

    def check_backbone(self, backbone: Backbone, label: str) -> None:
        """See ``NoiseMethod.check_backbone``: flow models start at t = 1."""
        super().check_backbone(backbone, label)
        if backbone.kind == "flow":
            raise _keeps_nothing(label, backbone)

    def load(self, backbone: Backbone, metrics: Mapping[str, Any] | None = None) -> Self:
        """See ``NoiseMethod.load``.

        Raises:
            UserError: renoising would keep less than a hundredth of the denoised state.
        """
        top, bottom = self._jump(backbone)
        if backbone.coefficients(top).alpha < 0.01 * backbone.coefficients(bottom).alpha:
            raise _keeps_nothing("repaint", backbone)
        return self

    def _jump(self, backbone: Backbone) -> tuple[float, float]:
        """Return the levels between which the jump goes, the noisier one first."""
        steps = backbone.steps(self.num_inference_steps)[: self.jump_length]
        return steps[0].from_timestep, steps[-1].to_timestep

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``."""
        steps = backbone.steps(self.num_inference_steps)[: self.jump_length]
        top, bottom = self._jump(backbone)
        latents = noise.to(backbone.device, torch.float32)
        conditioning = backbone.with_guidance(conditioning, self.guidance_scale)
        first = None
        for _ in range(self.repeats):
            for here, there in steps:
                branches = backbone.predict_branches(
                    latents, here, conditioning, unconditional=self.guidance_scale != 1
                )
                first = branches if first is None else first
                latents = backbone.move(latents, backbone.guide(branches, self.guidance_scale), here, there)
            latents = renoise(backbone, latents, bottom, top, generators)
        # without its unconditional half the first evaluation cannot serve a guided sampling
        return NoiseResult(latents.to(noise), first_branches=first if self.guidance_scale != 1 else None)

    def forwards(self, backbone: Backbone) -> int:
        """See ``NoiseMethod.forwards``."""
        guided = self.guidance_scale != 1 and "unconditional_branch" in backbone.capabilities
        return self.jump_length * self.repeats * (2 if guided else 1)

    def shares_first_evaluation(self, num_inference_steps: int) -> bool:
        """See ``NoiseMethod.shares_first_evaluation``."""
        return num_inference_steps == self.num_inference_steps and self.guidance_scale != 1
