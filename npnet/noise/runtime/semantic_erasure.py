"""Semantic erasure; see ``npnet.noise.semantic_erasure``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.runtime.base import LoadedMethod
from npnet.noise.runtime.search import per_sample
from npnet.noise.semantic_erasure import Renormalise, SemanticErasure
from npnet.records import Conditioning, NoiseResult


def erase(noise: Tensor, generators: Sequence[torch.Generator], num_noises: int) -> Tensor:
    """Return (z_1 + ... + z_n) / sqrt(n), ``(B, C, *grid)``, where z_1 is ``noise`` and the rest are fresh draws."""
    total = noise
    for _ in range(num_noises - 1):
        total = total + seeding.randn_like(noise, generators)
    return total / num_noises**0.5


def renormalise(noise: Tensor, how: Renormalise) -> Tensor:
    """Restore the size of each sample.

    Args:
        noise: ``(B, C, *grid)``.
        how: ``norm`` scales to the norm sqrt(d); ``std`` takes the mean off and scales to a standard deviation of 1;
            ``none`` returns what it got.
    """
    flat = noise.flatten(1)
    if how == "norm":
        return noise * per_sample(flat.shape[1] ** 0.5 / flat.norm(dim=1), noise)
    if how == "std":
        centred = noise - per_sample(flat.mean(1), noise)
        return centred / per_sample(flat.std(1, correction=0), noise)
    return noise


class LoadedSemanticErasure(LoadedMethod[SemanticErasure]):
    """Averages fresh noises into the given one."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``."""
        erased = erase(noise.to(backbone.device, torch.float32), generators, self.method.num_noises)
        return NoiseResult(renormalise(erased, self.method.renormalise).to(noise))
