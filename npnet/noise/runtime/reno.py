"""ReNO; see ``npnet.noise.reno``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.reno import ReNO
from npnet.noise.runtime.gradient import clip_gradient, gradient_at
from npnet.noise.runtime.search import LoadedSearch, Search, per_sample
from npnet.noise.runtime.white import project_to_white
from npnet.records import Conditioning, NoiseResult


def norm_log_density(noise: Tensor) -> Tensor:
    """Return (d - 1) log ||z|| - ||z||^2 / 2 of each sample, ``(B,)``, in float32; largest at ||z|| = sqrt(d - 1)."""
    norm = noise.float().flatten(1).norm(dim=1)
    return (noise[0].numel() - 1) * norm.log() - norm.square() / 2


class LoadedReNO(LoadedSearch[ReNO]):
    """Climbs the score's gradient."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``; deterministic."""
        method = self.method
        current = self.propose(noise.to(backbone.device, torch.float32), conditioning, backbone).clone()
        velocity = torch.zeros_like(current)
        cost = method.round_forwards(backbone)
        search = Search(current, method.budget, "reno", method.num_iterations, cost, method.threshold)
        for index in range(method.num_iterations):
            rows = search.rows
            if not rows or not search.affords(cost):
                break
            last = index == method.num_iterations - 1
            texts = conditioning[rows]
            score, gradient = self._score_and_gradient(current[rows], texts, backbone, with_gradient=not last)
            search.record(current[rows], score, cost, rows)
            if gradient is None:
                break
            gradient = self._prepared(gradient)
            velocity[rows] = method.momentum * velocity[rows] + gradient
            moved = current[rows] + method.learning_rate * (gradient + method.momentum * velocity[rows])
            current[rows] = project_to_white(moved) if method.projection in ("noise", "both") else moved
        return search.result(noise)

    def _prepared(self, gradient: Tensor) -> Tensor:
        """Return the gradient for the optimiser; 0 where it is 0 or not finite."""
        gradient = clip_gradient(gradient, self.method.gradient_clip)
        if self.method.projection not in ("gradient", "both"):
            return gradient
        known = per_sample(gradient.flatten(1).any(1), gradient)
        return clip_gradient(torch.where(known, project_to_white(gradient), 0.0), self.method.gradient_clip)

    def _score_and_gradient(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the scores ``(B,)`` without the regulariser, and the gradient of the scores with it."""
        if not with_gradient:
            with torch.no_grad():
                return self.noise_score(noise, conditioning, backbone), None

        def aim(leaf: Tensor) -> tuple[Tensor, Tensor]:
            score = self.noise_score(leaf, conditioning, backbone)
            return score, score + self.method.regularisation * norm_log_density(leaf)

        return gradient_at(noise, aim)
