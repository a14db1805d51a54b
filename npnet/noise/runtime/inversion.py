"""Re-denoise sampling; see ``npnet.noise.inversion`` for the formulas and symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.inversion import Inversion
from npnet.noise.runtime.base import LoadedMethod
from npnet.records import Branches, Conditioning, NoiseResult


def redenoise_gain(backbone: LoadedBackbone, from_timestep: float, to_timestep: float) -> float:
    """Return K of theorem E.1 for the step ``from_timestep`` -> ``to_timestep``."""
    scale, shift = backbone.step_coefficients(from_timestep, to_timestep)
    return shift / scale


def redenoise(
    backbone: LoadedBackbone,
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
        time_label: the timestep that the network gets in the evaluation for the step back: ``destination`` (t0, as
            equation 2 writes and the published code does) or ``source`` (t1, as the proof of theorem E.1 writes).
        first_branches: the evaluation at (noise, t0), if it was computed before.

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


class LoadedInversion(LoadedMethod[Inversion]):
    """Takes the step there and back, ``cycles`` times."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``; deterministic."""
        golden = noise.to(backbone.device, torch.float32)
        first = None
        for _ in range(self.method.cycles):
            golden, branches = redenoise(
                backbone,
                golden,
                conditioning,
                num_inference_steps=self.method.num_inference_steps,
                guidance_scale=self.method.guidance_scale,
                inversion_guidance_scale=self.method.inversion_guidance_scale,
                time_label=self.method.time_label,
            )
            first = branches if first is None else first
        return NoiseResult(golden.to(noise), first_branches=first)
