"""Noise Diffusion; see ``npnet.noise.noise_diffusion`` for the formulas and symbols."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.noise_diffusion import NoiseDiffusion
from npnet.noise.runtime.gradient import gradient_at
from npnet.noise.runtime.reparametrise import pull_back, reparametrise
from npnet.noise.runtime.search import LoadedSearch, Search, chosen, per_sample, rows_of
from npnet.records import Conditioning, NoiseResult

DIVERGENCE_LIMIT, DIVERGENCE_STEPS = 1e-3, 20
"""Of ``mean_variance``: InitNO's published limit, and our cap."""


def step_size(share: Tensor) -> Tensor:
    """Return gamma = 1 - sqrt(s), in [0, 1]."""
    return 1 - share.clamp(0, 1).sqrt()


def mix(noise: Tensor, fresh: Tensor, gamma: Tensor) -> Tensor:
    """Return sqrt(1 - gamma) noise + sqrt(gamma) fresh; gamma is ``(B,)``."""
    gamma = per_sample(gamma, noise)
    return (1 - gamma).sqrt() * noise + gamma.sqrt() * fresh


def choose(gradient: Tensor, noise: Tensor, candidates: Tensor, gamma: Tensor) -> Tensor:
    """Return the index, ``(1,)``, of the candidate with the largest <g, v> / ||v||^2; the first where all are equal.

    Args:
        gradient: ``(C, *grid)``, of one sample, up to a positive factor.
        noise: ``(C, *grid)``.
        candidates: ``(N, C, *grid)``.
        gamma: scalar.
    """
    moves = (mix(noise.expand_as(candidates), candidates, gamma.expand(len(candidates))) - noise).flatten(1)
    ratio = (moves @ gradient.flatten()) / moves.square().sum(1)
    return ratio.nan_to_num(-torch.inf).argmax(0, keepdim=True)


class LoadedNoiseDiffusion(LoadedSearch[NoiseDiffusion]):
    """Mixes fresh noise in: the higher the score of the picture, the less fresh noise."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``; the best noise seen."""
        method = self.method
        current = self.propose(noise.to(backbone.device, torch.float32), conditioning, backbone).clone()
        cost = method.round_forwards(backbone)
        search = Search(current, method.budget, method.variant, method.num_rounds + 1, cost)
        moments = _Moments(current, method.learning_rate) if method.variant == "mean_variance" else None
        rows = list(range(len(current)))
        for index in range(method.num_rounds + 1):
            if not search.affords(cost):
                break
            wanted = method.needs_gradients and index < method.num_rounds
            texts = conditioning[rows]
            with torch.no_grad():
                finished = self.finish(current[rows], texts, backbone)
            score, gradient = self._judge(finished.latents, texts, backbone, wanted)
            search.record(current[rows], score, cost, rows, finished)
            low, high = method.score_range
            share = (score - low) / (high - low)
            going = share < (torch.inf if method.threshold is None else method.threshold)  # NaN stops
            kept = chosen(range(len(rows)), going)
            if index == method.num_rounds or not kept:
                break
            rows, share = rows_of(rows, kept), share[kept]
            gradient = None if gradient is None else gradient[kept]
            current[rows] = self._step(current[rows], share, gradient, rows_of(generators, rows), moments, rows)
            if method.variant == "random_sampling":
                current[rows] = self.propose(current[rows], conditioning[rows], backbone)
        return search.result(noise)

    def _judge(
        self, latents: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the scores ``(b,)`` of samples and, up to the sampler's scalar c, the gradients of their noises."""
        if not with_gradient:
            with torch.no_grad():
                return self.picture_score(latents, conditioning, backbone), None
        return gradient_at(latents, lambda leaf: (score := self.picture_score(leaf, conditioning, backbone), score))

    def _step(
        self,
        noise: Tensor,
        share: Tensor,
        gradient: Tensor | None,
        generators: Sequence[torch.Generator],
        moments: _Moments | None,
        rows: Sequence[int],
    ) -> Tensor:
        """Return the next noise of the samples at ``rows``."""
        if self.method.variant == "random_sampling":
            return seeding.randn_like(noise, generators)
        if gradient is None:
            return mix(noise, seeding.randn_like(noise, generators), step_size(share))
        if self.method.variant == "pgd":
            norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-30)
            length = self.method.pgd_step_size * noise[0].numel() ** 0.5
            return noise + per_sample(length / norm, noise) * gradient
        if moments is not None:
            return moments.ascend(gradient, rows)
        return self._diffuse(noise, share, gradient, generators)

    def _diffuse(self, noise: Tensor, share: Tensor, gradient: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Mix each noise with the candidate that the gradient chooses."""
        gamma = step_size(share)
        fresh = torch.empty_like(noise)
        for i, generator in enumerate(generators):
            many = noise[i].expand(self.method.num_candidates, *noise[i].shape)
            drawn = seeding.randn_like(many, [generator] * self.method.num_candidates)
            fresh[i] = drawn[choose(gradient[i], noise[i], drawn, gamma[i])][0]
        return mix(noise, fresh, gamma)


class _Moments:
    """Adam on the shift and stretch of ``noise``, every sample for itself."""

    def __init__(self, noise: Tensor, learning_rate: float) -> None:
        self.noise = noise.clone()
        self.mean, self.log_variance = torch.zeros_like(noise), torch.zeros_like(noise)
        self.adam = torch.optim.Adam([self.mean, self.log_variance], lr=learning_rate, maximize=True)

    def ascend(self, gradient: Tensor, rows: Sequence[int]) -> Tensor:
        """Take a step along the score's ``gradient`` with respect to the noises at ``rows`` and return those noises."""
        stretched = self.noise[rows] * torch.exp(self.log_variance[rows] / 2)
        self.mean.grad, self.log_variance.grad = torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        self.mean.grad[rows], self.log_variance.grad[rows] = gradient, gradient * stretched / 2
        with torch.no_grad():
            self.adam.step()
            mean, log_variance = pull_back(self.mean, self.log_variance, DIVERGENCE_LIMIT, DIVERGENCE_STEPS)
            self.mean.copy_(mean)
            self.log_variance.copy_(log_variance)
        return reparametrise(self.noise[rows], self.mean[rows], self.log_variance[rows])
