"""DivIn; see ``npnet.noise.divin`` for the formula and symbols."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.divin import DivIn
from npnet.noise.runtime.base import LoadedMethod
from npnet.records import Conditioning, NoiseResult


class LoadedDivIn(LoadedMethod[DivIn]):
    """Takes the step."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``."""
        method, current = self.method, noise.to(backbone.device, torch.float32)
        for _ in range(method.num_steps):
            drift = method.temperature * pull_gradient(current, conditioning, backbone, method.num_inference_steps)
            fresh = seeding.randn_like(current, generators)
            current = current - method.step_size * (drift + current) + math.sqrt(2 * method.step_size) * fresh
        return NoiseResult(current.to(noise))


def pull(noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, num_inference_steps: int) -> Tensor:
    """Return U of each noise ``(B, C, *grid)`` at the first level: ``(B,)``."""
    level = backbone.timesteps(num_inference_steps)[0]
    branches = backbone.predict_branches(noise, level, conditioning)
    assert branches.unconditional is not None  # ``DivIn.needs`` guarantees it
    with_prompt, without = (backbone.to_x0(e, noise, level) for e in (branches.conditional, branches.unconditional))
    return (with_prompt - without).flatten(1).norm(dim=1)


def pull_gradient(
    noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, num_inference_steps: int
) -> Tensor:
    """Return the gradient of U with respect to the noise, ``(B, C, *grid)``; 0 where it is not finite."""
    with torch.enable_grad():
        leaf = noise.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(pull(leaf, conditioning, backbone, num_inference_steps).sum(), leaf)
    return torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
