"""Noise Diffusion (CVPR 2025, arXiv 2411.16503): re-diffuse the noise, the less the better its picture already is.

One round mixes the noise z with fresh noise sigma, z' = sqrt(1 - gamma) z + sqrt(gamma) sigma, which is N(0, I) again
where sigma is unselected. gamma = 1 - sqrt(s) follows the score s in [0, 1]; of N drawn sigma_i the one with the
largest <g, v_i> / ||v_i||^2 is taken, where v_i = z'_i - z and g is the gradient of the score with respect to z.

The published code treats the predictions of the denoiser as constants. The sampler is then z_0 = c z + (constants) with
one scalar c (13.15 for SD 1.4, 1 for flow matching, whose velocity is held), so g = c dS/dz_0, and neither the choice
nor a normalised step depends on c > 0. Hence no graph through the denoiser: g is taken through the decoder and the
scorer alone.

Departures from the published code, all of which are repairs: pictures are in [0, 1] where the scorer expects that; the
best noise seen is returned, not the last; candidates come from the sample's generator; batched over prompts; a
sample whose score reaches a threshold stops (at a score of 1 gamma and every v_i are 0).

Symbols: z ``noise``, sigma ``fresh``, s ``share`` (the score mapped to [0, 1]), g ``gradient``, M ``num_rounds``,
N ``num_candidates``, T ``num_inference_steps``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from npnet import seeding
from npnet.errors import UserError, unknown
from npnet.noise.reparametrise import pull_back, reparametrise
from npnet.noise.search import Scorers, Search, SearchMethod, at_least, per_sample, rows_of
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone

Variant = Literal["noise_diffusion", "pgd", "random_sampling", "random_diffusion", "mean_variance"]
VARIANTS = ("noise_diffusion", "pgd", "random_sampling", "random_diffusion", "mean_variance")
FOLLOW_GRADIENTS = ("noise_diffusion", "pgd", "mean_variance")
DIVERGENCE_LIMIT, DIVERGENCE_STEPS = 1e-3, 20
"""Of ``mean_variance``: InitNO's published limit, and our cap."""


def step_size(share: Tensor) -> Tensor:
    """Return gamma = 1 - sqrt(s), in [0, 1]."""
    return 1 - share.clamp(0, 1).sqrt()


def mix(noise: Tensor, fresh: Tensor, gamma: Tensor) -> Tensor:
    """Return sqrt(1 - gamma) noise + sqrt(gamma) fresh; gamma is ``(B,)``."""
    gamma = per_sample(gamma, noise)
    return (1 - gamma).sqrt() * noise + gamma.sqrt() * fresh


def choose(gradient: Tensor, noise: Tensor, candidates: Tensor, gamma: Tensor) -> int:
    """Return the index of the candidate with the largest <g, v> / ||v||^2; the first where none can be told.

    Args:
        gradient: ``(C, *grid)``, of one sample, up to a positive factor.
        noise: ``(C, *grid)``.
        candidates: ``(N, C, *grid)``.
        gamma: scalar.
    """
    moves = (mix(noise.expand_as(candidates), candidates, gamma.expand(len(candidates))) - noise).flatten(1)
    ratio = (moves @ gradient.flatten()) / moves.square().sum(1)
    return int(ratio.nan_to_num(-torch.inf).argmax())


class NoiseDiffusion(SearchMethod):
    """Noise Diffusion, and the alternatives its paper compares with.

    Args:
        scorer: what is maximised, see ``SearchMethod``; published: VQAScore.
        num_inference_steps: see ``SearchMethod`` (published: 50).
        guidance_scale: see ``SearchMethod`` (published: 7.5).
        variant: ``noise_diffusion``; ``random_diffusion`` (one candidate, no selection); ``random_sampling`` (fresh
            noise each round); ``pgd`` (z + step_size sqrt(d) g / ||g||: leaves N(0, I)); ``mean_variance`` (InitNO's
            shift and stretch by Adam on the score, divergence at most 1e-3). None but the first is in the published
            code, and their step sizes were not found: those are our choice.
        num_rounds: M (published: 50, though the published script for SD passes 1).
        num_candidates: N (published: 50).
        score_range: the scorer's values that count as s = 0 and s = 1 (published: 0 and 1, a probability).
        threshold: s at which a sample stops (our choice: 0.98); None never stops, and then a score of 1 stays put.
        pgd_step_size: length of a step of ``pgd``, as a share of the noise's norm (our choice).
        learning_rate: of Adam in ``mean_variance`` (InitNO's 1e-2).
        budget: see ``SearchMethod``.

    Cost, where no sample stops early: (M + 1) T forwards (twice under guidance), no backward through the denoiser,
    M + 1 scorer calls, and M gradients through decoder and scorer.
    """

    def __init__(
        self,
        scorer: Scorers,
        num_inference_steps: int,
        guidance_scale: float,
        variant: Variant = "noise_diffusion",
        num_rounds: int = 50,
        num_candidates: int = 50,
        score_range: Sequence[float] = (0.0, 1.0),
        threshold: float | None = 0.98,
        pgd_step_size: float = 0.05,
        learning_rate: float = 1e-2,
        budget: Mapping[str, float | None] | None = None,
    ) -> None:
        super().__init__(scorer, num_inference_steps, guidance_scale, budget)
        if variant not in VARIANTS:
            raise unknown("variant", variant, VARIANTS)
        if len(score_range) != 2 or not score_range[0] < score_range[1]:
            raise UserError(f"score_range={list(score_range)}: two numbers are needed, the lower one first")
        self.variant = variant
        self.num_rounds = at_least("num_rounds", num_rounds, 0)
        self.num_candidates = at_least("num_candidates", num_candidates, 1)
        self.score_range = (float(score_range[0]), float(score_range[1]))
        self.threshold = None if threshold is None else float(threshold)
        self.pgd_step_size = at_least("pgd_step_size", pgd_step_size, 0, whole=False)
        self.learning_rate = at_least("learning_rate", learning_rate, 0, whole=False)
        self.needs_gradients = variant in FOLLOW_GRADIENTS
        self.needs = ("decode", "differentiable_decode") if self.needs_gradients else ("decode",)
        if variant == "pgd":  # steps in one direction add up
            self.variance_bound = (0.5, (1.05 + num_rounds * pgd_step_size) ** 2)

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``; the best noise seen."""
        current = noise.to(backbone.device, torch.float32).clone()
        cost = self.round_forwards(backbone)
        search = Search(current, self.budget, self.variant, self.num_rounds + 1, cost)
        moments = _Moments(current, self.learning_rate) if self.variant == "mean_variance" else None
        rows = torch.arange(len(current), device=current.device)
        for index in range(self.num_rounds + 1):
            if not search.affords(cost):
                break
            wanted = self.needs_gradients and index < self.num_rounds
            score, gradient = self._judge(current[rows], conditioning[rows.tolist()], backbone, wanted)
            search.record(current[rows], score, cost, rows)
            share = (score - self.score_range[0]) / (self.score_range[1] - self.score_range[0])
            going = share < (torch.inf if self.threshold is None else self.threshold)  # NaN stops
            rows, share = rows[going], share[going]
            if index == self.num_rounds or not len(rows):
                break
            gradient = None if gradient is None else gradient[going]
            current[rows] = self._step(current[rows], share, gradient, rows_of(generators, rows), moments, rows)
        return search.result(noise)

    def _judge(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the scores ``(b,)`` of noises and, up to the sampler's scalar c, their gradients."""
        with torch.no_grad():
            latents = backbone.sample(noise, conditioning, self.num_inference_steps, self.guidance_scale)
            if not with_gradient:
                return self.picture_score(latents, conditioning, backbone), None
        with torch.enable_grad():
            latents = latents.detach().requires_grad_()
            score = self.picture_score(latents, conditioning, backbone)
            (gradient,) = torch.autograd.grad(score.sum(), latents)
        return score.detach(), gradient

    def _step(
        self,
        noise: Tensor,
        share: Tensor,
        gradient: Tensor | None,
        generators: Sequence[torch.Generator],
        moments: _Moments | None,
        rows: Tensor,
    ) -> Tensor:
        """Return the next noise of the samples at ``rows``."""
        if self.variant == "random_sampling":
            return seeding.randn_like(noise, generators)
        if gradient is None:
            return mix(noise, seeding.randn_like(noise, generators), step_size(share))
        if self.variant == "pgd":
            norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-30)
            length = self.pgd_step_size * noise[0].numel() ** 0.5
            return noise + per_sample(length / norm, noise) * gradient
        if moments is not None:
            return moments.ascend(gradient, rows)
        return self._diffuse(noise, share, gradient, generators)

    def _diffuse(self, noise: Tensor, share: Tensor, gradient: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Mix each noise with the candidate that the gradient chooses."""
        gamma = step_size(share)
        fresh = torch.empty_like(noise)
        for i, generator in enumerate(generators):
            many = noise[i].expand(self.num_candidates, *noise[i].shape)
            drawn = seeding.randn_like(many, [generator] * self.num_candidates)
            fresh[i] = drawn[choose(gradient[i], noise[i], drawn, gamma[i])]
        return mix(noise, fresh, gamma)

    def forwards(self, backbone: Backbone) -> int | None:
        """See ``NoiseMethod.forwards``; known where no threshold can stop a sample."""
        if self.budget.seconds is not None or self.threshold is not None:
            return None
        cost = self.round_forwards(backbone)
        return cost * self.budget.rounds(self.num_rounds + 1, cost)


class _Moments:
    """Adam on the shift and stretch of ``noise``, every sample for itself."""

    def __init__(self, noise: Tensor, learning_rate: float) -> None:
        self.noise = noise.clone()
        self.mean, self.log_variance = torch.zeros_like(noise), torch.zeros_like(noise)
        self.adam = torch.optim.Adam([self.mean, self.log_variance], lr=learning_rate, maximize=True)

    def ascend(self, gradient: Tensor, rows: Tensor) -> Tensor:
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
