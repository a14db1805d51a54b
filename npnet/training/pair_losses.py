"""Losses and weights of single pairs, beyond the plain mean of equation 8. Experimental.

docs/frontier.md has their results on the built-in model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def preference(to_golden: Tensor, to_source: Tensor, kept: Tensor, scale: float) -> Tensor:
    """Return a loss for each pair, ``(B,)``, above 0: the smaller, the more the prediction prefers the right side.

    With w and l the squared errors from the side that won and the side that lost, the loss is -log sigmoid(scale (l -
    w)) / scale. This is the form of Diffusion-DPO (arXiv 2311.12908), on noise instead of denoising errors and without
    a reference model. In a kept pair the golden side won, in a rejected one the source. The margin is linear in the
    prediction, so this loss alone has no minimum and needs the squared error beside it.

    Args:
        to_golden: squared error of the prediction from the golden noise, ``(B,)``; see ``penalties.squared_error``.
        to_source: squared error from the source noise, ``(B,)``.
        kept: whether the selection kept the pair, ``(B,)`` bool.
        scale: the larger, the smaller the preference beyond which the loss hardly falls.
    """
    margin = to_source - to_golden
    return nn.functional.softplus(-scale * torch.where(kept, margin, -margin)) / scale


def weights(gains: Tensor, power: float) -> Tensor:
    """Return the weight of each pair, ``(B,)``: its gain to ``power``, scaled to mean 1; 0 without a gain.

    Args:
        gains: score of the golden picture minus that of the source picture, ``(B,)``; NaN counts as no gain.
        power: 1 for weights in proportion to the gain.
    """
    found = gains.nan_to_num(0.0).clamp_min(0.0)
    found = torch.where(found > 0, found.pow(power), found)
    return found / found.mean().clamp_min(torch.finfo(found.dtype).tiny)
