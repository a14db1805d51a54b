"""What a pair of noises teaches a network, pair by pair: losses besides the plain mean of equation 8. Experimental.

docs/frontier.md has what they come to on the built-in model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def preference(to_golden: Tensor, to_source: Tensor, kept: Tensor, scale: float) -> Tensor:
    """Return how little a prediction prefers the side that was preferred, for each pair, ``(B,)``, above 0.

    With its squared errors from the side w that won and l that lost, -log sigmoid(scale (l - w)) / scale: the form of
    Diffusion-DPO (arXiv 2311.12908), on noise instead of denoising errors and without a reference model. A kept pair is
    won by its golden side, a rejected one by its source. The margin is linear in the prediction, so this loss alone has
    no lowest point: it needs the squared error beside it.

    Args:
        to_golden: squared error of the prediction from the golden noise, ``(B,)``; see ``penalties.squared_error``.
        to_source: from the noise that was given, ``(B,)``.
        kept: whether the selection kept the pair, ``(B,)`` bool.
        scale: the larger, the smaller the preference beyond which nothing is gained.
    """
    margin = to_source - to_golden
    return nn.functional.softplus(-scale * torch.where(kept, margin, -margin)) / scale


def weights(gains: Tensor, power: float) -> Tensor:
    """Return what each pair counts, ``(B,)``: its gain to ``power``, with mean 1; no gain counts nothing.

    Args:
        gains: score of the golden picture less that of the source picture, ``(B,)``; NaN is no gain.
        power: 1 for weights in proportion to the gain.
    """
    found = gains.nan_to_num(0.0).clamp_min(0.0)
    found = torch.where(found > 0, found.pow(power), found)
    return found / found.mean().clamp_min(torch.finfo(found.dtype).tiny)
