"""Optimised noise as a shift and a stretch of drawn noise, z = z_0 exp(log_variance / 2) + mean, kept near N(0, I).

The divergence is KL(N(mean, exp(log_variance)) || N(0, 1)), averaged over a sample's d dimensions:
-(1 + log_variance - mean^2 - exp(log_variance)) / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from npnet.noise.runtime.search import per_sample


def reparametrise(noise: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return z, ``(B, C, *grid)``; the noise itself at mean = log_variance = 0."""
    return noise * torch.exp(log_variance / 2) + mean


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the mean divergence of each sample, ``(B,)``; 0 at mean = log_variance = 0."""
    return (-0.5 * (1 + log_variance - mean.square() - log_variance.exp())).flatten(1).mean(1)


def pull_back(mean: Tensor, log_variance: Tensor, limit: float, max_steps: int) -> tuple[Tensor, Tensor]:
    """Scale each sample's parameters down, no more than needed, so that its divergence is at most ``limit``.

    InitNO does this in a loop without a cap, by Adam on the divergence with an eps of 1e-3; the gradient of a mean over
    d dimensions is far below that eps, so the loop may never end. The divergence grows along every ray from 0, so the
    factor is found by halving an interval, in a known number of steps.

    Args:
        mean: ``(B, C, *grid)``.
        log_variance: of the same shape.
        limit: published by InitNO: 1e-3.
        max_steps: halvings; however few, the result is below the limit.

    Returns:
        New mean and log-variance; samples already below the limit are untouched.
    """
    above = divergence(mean, log_variance) > limit
    low, high = torch.zeros(len(mean), device=mean.device), torch.ones(len(mean), device=mean.device)
    for _ in range(max_steps):
        middle = (low + high) / 2
        factor = per_sample(middle, mean)
        fits = divergence(factor * mean, factor * log_variance) <= limit
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    factor = per_sample(torch.where(above, low, 1.0), mean)
    return factor * mean, factor * log_variance
