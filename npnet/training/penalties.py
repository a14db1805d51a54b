"""Penalties that keep a network's noise close to standard noise, and the pictures of a prompt different.

With z = T(e) = e + f(e), e ~ N(0, I) of d numbers and J the Jacobian of f, the divergence of the result is

    KL(T(e) || N(0, I)) = E[ |f|^2 / 2 + tr J - log |det(I + J)| ]

(HyperNoise, arXiv 2508.09968, whose loss has only the first term; Stein's identity turns E<e, f> into E tr J). Every
penalty here except ReNO's is divided by d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.metrics.diversity import by_prompt, similarity
from npnet.noise.runtime.reno import norm_log_density


def squared_error(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean squared difference of each sample, ``(B,)``."""
    return (one - other).flatten(1).square().mean(1)


def l2_penalty(change: Tensor) -> Tensor:
    """Return half the mean square of each sample's change f, ``(B,)``: |f|^2 / 2d."""
    return change.flatten(1).square().mean(1) / 2


def jacobian_term(change: Tensor, noise: Tensor, probes: Tensor, powers: int) -> Tensor:
    """Estimate (tr J - log |det(I + J)|) / d of each sample, ``(B,)``; differentiable in the network's weights.

    The series sum_k (-1)^k tr(J^k) / k from k = 2 on, cut after ``powers``, with <v, J^k v> for each trace
    (Hutchinson). Its only bias is that of the cut, below r^(powers + 1) / ((powers + 1) (1 - r)), where r < 1 bounds
    the size of J's eigenvalues. Where one is larger than 1, the series does not converge and the estimate is useless.

    Args:
        change: f of ``noise``, ``(B, C, *grid)``, with its graph; samples do not depend on one another.
        noise: e, which requires a gradient.
        probes: of the noise's shape, independent signs.
        powers: the last power of J, at least 2; each costs one pass backward through the network.
    """
    total, moved = torch.zeros(len(noise), device=noise.device), probes
    for power in range(1, powers + 1):
        (moved,) = torch.autograd.grad(change, noise, moved, create_graph=True)
        if power > 1:
            total = total + (-1) ** power / power * (probes * moved).flatten(1).sum(1)
    return total / noise[0].numel()


def norm_penalty(noise: Tensor) -> Tensor:
    """Return ReNO's regulariser of each sample, ``(B,)``: how far log p(|z|) is below its peak, at sqrt(d - 1)."""
    count = noise[0].numel() - 1
    return count * (math.log(count) - 1) / 2 - norm_log_density(noise)


def alikeness(features: Tensor, prompts: Sequence[str], kernel_width: float | None) -> Tensor:
    """Return the mean similarity of two pictures of the same prompt, over prompts: a scalar in [0, 1].

    0 where no prompt has several pictures.

    Args:
        features: of the pictures, ``(n, d)``.
        prompts: n texts.
        kernel_width: see ``FeatureSpace``.
    """
    found = []
    for places in by_prompt(prompts).values():
        similar = similarity(features[places], kernel_width)
        found.append((similar.sum() - similar.diagonal().sum()) / (len(places) * (len(places) - 1)))
    return torch.stack(found).mean() if found else features.sum() * 0
