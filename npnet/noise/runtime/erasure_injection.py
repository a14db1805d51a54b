"""Semantic erasure and injection; see ``npnet.noise.erasure_injection`` for the formulas and symbols."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.erasure_injection import ErasureInjection
from npnet.noise.runtime.base import LoadedMethod
from npnet.noise.runtime.semantic_erasure import erase, renormalise
from npnet.records import Conditioning, NoiseResult


def aggregate(predictions: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return sum_k w_k e_k / sqrt(sum_k w_k^2); unchanged by a common positive factor of the weights."""
    norm = sum(weight**2 for weight in weights) ** 0.5
    return torch.stack([weight * e for weight, e in zip(weights, predictions, strict=True)]).sum(0) / norm


def inject(noise: Tensor, semantics: Tensor, delta: float) -> Tensor:
    """Return (z + delta e) / sqrt(1 + delta^2)."""
    return (noise + delta * semantics) / (1 + delta**2) ** 0.5


class LoadedErasureInjection(LoadedMethod[ErasureInjection]):
    """Injects the denoiser's own predictions into the erased noise."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``."""
        method = self.method
        erased = erase(noise.to(backbone.device, torch.float32), generators, method.num_noises)
        if method.delta == 0:
            return NoiseResult(renormalise(erased, method.renormalise).to(noise))
        predictions = [self._predict(erased, level, conditioning, backbone) for level in self.levels(backbone)]
        injected = inject(erased, aggregate(predictions, method.term_weights), method.delta)
        return NoiseResult(renormalise(injected, method.renormalise).to(noise))

    def levels(self, backbone: LoadedBackbone) -> list[float]:
        """Return the levels t_k that the positions stand for."""
        levels = backbone.timesteps(self.method.num_inference_steps)
        return [levels[round(position * (len(levels) - 1))] for position in self.method.positions]

    def _predict(self, noise: Tensor, level: float, conditioning: Conditioning, backbone: LoadedBackbone) -> Tensor:
        noise_pred = backbone.predict(noise, level, conditioning, self.method.guidance_scale)
        convert = backbone.to_epsilon if self.method.prediction == "epsilon" else backbone.to_velocity
        return convert(noise_pred, noise, level)
