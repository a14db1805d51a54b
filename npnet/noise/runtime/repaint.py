"""Repaint; see ``npnet.noise.repaint`` for the formula."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.repaint import Repaint, keeps_nothing
from npnet.noise.runtime.base import LoadedMethod
from npnet.records import Conditioning, NoiseResult


def renoise(
    backbone: LoadedBackbone,
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


class LoadedRepaint(LoadedMethod[Repaint]):
    """Takes the jump down and back up.

    Args:
        method: its description.
        backbone: loaded.
        scorers: none are used.

    Raises:
        UserError: renoising would keep less than a hundredth of the denoised state.
    """

    def __init__(
        self, method: Repaint, backbone: LoadedBackbone, scorers: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        super().__init__(method, backbone, scorers)
        top, bottom = self._jump(backbone)
        if backbone.coefficients(top).alpha < 0.01 * backbone.coefficients(bottom).alpha:
            raise keeps_nothing(backbone.name)

    def _jump(self, backbone: LoadedBackbone) -> tuple[float, float]:
        """Return the levels between which the jump goes, the noisier one first."""
        steps = backbone.steps(self.method.num_inference_steps)[: self.method.jump_length]
        return steps[0].from_timestep, steps[-1].to_timestep

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``."""
        steps = backbone.steps(self.method.num_inference_steps)[: self.method.jump_length]
        top, bottom = self._jump(backbone)
        latents = noise.to(backbone.device, torch.float32)
        conditioning = backbone.with_guidance(conditioning, self.method.guidance_scale)
        first = None
        for _ in range(self.method.repeats):
            for here, there in steps:
                branches = backbone.predict_branches(
                    latents, here, conditioning, unconditional=self.method.guidance_scale != 1
                )
                first = branches if first is None else first
                latents = backbone.move(latents, backbone.guide(branches, self.method.guidance_scale), here, there)
            latents = renoise(backbone, latents, bottom, top, generators)
        # without its unconditional half the first evaluation cannot serve a guided sampling
        return NoiseResult(latents.to(noise), first_branches=first if self.method.guidance_scale != 1 else None)
