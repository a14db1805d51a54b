"""How different the pictures of one prompt are: Vendi score and mean pairwise distance in a space of features.

A space turns pictures into feature vectors (``spaces``): pixels, the embedding of a vision model, or what a judge
reads. Each space has its own scale, so compare figures only within one space, best as a share of the figure for
standard noise.

The Vendi score (Friedman and Dieng, "The Vendi Score", TMLR 2023, arXiv 2210.02410) of n pictures is the exponential
of the entropy of the eigenvalues of K / n, where K holds their similarities, 1 on the diagonal: It is 1 where all
pictures are the same, and n where no two have anything in common. Both measures are biased for few seeds of a prompt,
in the same way for every method with the same number of seeds.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def similarity(features: Tensor, kernel_width: float | None) -> Tensor:
    """Return the similarities of ``(n, d)`` features, ``(n, n)``, as ``FeatureSpace.kernel_width`` says."""
    return cosine_similarity(features) if kernel_width is None else gaussian_similarity(features, kernel_width)


def to_texts(features: Tensor) -> list[str]:
    """Return a text for each row of ``(n, d)`` features: base64 of half precision; empty where one is not finite."""
    rows = features.detach().cpu().numpy().astype("<f2")
    return [base64.b64encode(row.tobytes()).decode() if np.isfinite(row).all() else "" for row in rows]


def from_text(text: str) -> Tensor | None:
    """Return the features ``(d,)`` that ``to_texts`` wrote, float64; None for a picture without any."""
    if not text:
        return None
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float64))


def cosine_similarity(features: Tensor) -> Tensor:
    """Return the cosines of ``(n, d)`` features, ``(n, n)``; for embeddings whose length means nothing."""
    directions = torch.nn.functional.normalize(features.double(), dim=1)
    return directions @ directions.T


def gaussian_similarity(features: Tensor, width: float) -> Tensor:
    """Return exp(-|x - y|^2 / (2 width^2)) of ``(n, d)`` features, ``(n, n)``; for features with a unit."""
    return torch.exp(-distances(features).square() / (2 * width**2))


def distances(features: Tensor) -> Tensor:
    """Return the Euclidean distances of ``(n, d)`` features, ``(n, n)``."""
    features = features.double()
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def vendi_score(similarity: Tensor) -> float:
    """Return the effective number of different pictures, in [1, n], from ``(n, n)`` similarities.

    Raises:
        ValueError: the similarities are not a square of finite numbers, or not 1 on the diagonal.
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or not similarity.isfinite().all():
        raise ValueError(f"a square of finite similarities is needed, got {tuple(similarity.shape)}")
    similarity = similarity.double()
    if not torch.allclose(similarity.diagonal(), torch.ones(len(similarity), dtype=torch.float64), atol=1e-6):
        raise ValueError("a picture's similarity with itself must be 1")
    shares = torch.linalg.eigvalsh(similarity / len(similarity)).clamp_min(0)
    return float(torch.exp(torch.special.entr(shares).sum()))


def mean_pairwise_distance(features: Tensor) -> float:
    """Return the mean Euclidean distance of two different rows of ``(n, d)`` features; NaN for a single row."""
    count = len(features)
    return float(distances(features).sum() / (count * (count - 1))) if count > 1 else float("nan")


def by_prompt(prompts: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of each prompt that has several pictures, in the order of their first."""
    places: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(place)
    return {prompt: own for prompt, own in places.items() if len(own) > 1}
