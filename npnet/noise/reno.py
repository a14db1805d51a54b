"""ReNO (NeurIPS 2024, arXiv 2406.04312): gradient ascent on the score, through the whole of a few-step sampler.

It maximises sum_i lambda_i r_i(picture) - 0.01 (||z||^2 / 2 - (d - 1) log ||z||); the second term is the log-density of
the norm of d normal numbers and is largest at ||z|| = sqrt(d - 1). Nesterov SGD with a learning rate of 5, on gradients
cut to a norm of 0.1: a first move of at most 0.95, and 5 in the limit, where ||z|| is 128 for SDXL-Turbo at 512 x 512.

The best noise by the score without the regulariser is kept, and every noise is scored before the step away from it.
Published weights: ``{hpsv2: 5.0, imagereward: 1.0, pickscore: 0.05, clipscore: 0.01}``, clipscore (off by default) on
the scale 100 cos of ViT-H; ours is 2.5 max(cos, 0), so 0.4 weighs the same.

Departures: the gradient is cut for each sample (the published code has batches of one), and a gradient that is not
finite leaves its sample where it is. Gradients through long samplers are of no use (the authors' issue 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from npnet.errors import UserError
from npnet.noise.search import Scorers, Search, SearchMethod, at_least, per_sample
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone


def norm_log_density(noise: Tensor) -> Tensor:
    """Return (d - 1) log ||z|| - ||z||^2 / 2 of each sample, ``(B,)``, in float32; largest at ||z|| = sqrt(d - 1)."""
    norm = noise.float().flatten(1).norm(dim=1)
    return (noise[0].numel() - 1) * norm.log() - norm.square() / 2


def clip_gradient(gradient: Tensor, limit: float) -> Tensor:
    """Cut each sample's gradient to a norm of at most ``limit``; 0 where it is not finite."""
    norm = gradient.flatten(1).norm(dim=1)
    scale = torch.where(norm.isfinite(), (limit / norm.clamp_min(1e-30)).clamp_max(1.0), 0.0)
    return torch.nan_to_num(gradient, 0.0, 0.0, 0.0) * per_sample(scale, gradient)


class ReNO(SearchMethod):
    """Reward-based noise optimisation, for models of few steps.

    Args:
        scorer: see ``SearchMethod``, with weights ``{label: weight}``; must be differentiable.
        num_inference_steps: see ``SearchMethod`` (published: 1).
        guidance_scale: see ``SearchMethod``.
        num_iterations: pictures scored (published: 50).
        learning_rate: published: 5 (10 for Hyper-SD).
        momentum: Nesterov's (published: 0.9).
        gradient_clip: norm that a sample's gradient is cut to (published: 0.1).
        regularisation: weight of the norm's term (published: 0.01).
        max_inference_steps: longer samplers are refused: their gradients are useless and their graphs large (our
            choice: 8).
        budget: see ``SearchMethod``.

    Cost: ``num_iterations`` x ``num_inference_steps`` forwards (twice under guidance), as many backwards less one
    iteration's, ``num_iterations`` scorer calls. The graph of every step is held at once.
    """

    needs = ("decode", "differentiable_decode")
    needs_gradients = True
    variance_bound = (0.7, 1.4)

    def __init__(
        self,
        scorer: Scorers,
        num_inference_steps: int,
        guidance_scale: float,
        num_iterations: int = 50,
        learning_rate: float = 5.0,
        momentum: float = 0.9,
        gradient_clip: float = 0.1,
        regularisation: float = 0.01,
        max_inference_steps: int = 8,
        budget: Mapping[str, float | None] | None = None,
    ) -> None:
        super().__init__(scorer, num_inference_steps, guidance_scale, budget)
        self.num_iterations = at_least("num_iterations", num_iterations, 1)
        self.learning_rate = at_least("learning_rate", learning_rate, 0, whole=False)
        self.momentum = at_least("momentum", momentum, 0, whole=False)
        self.gradient_clip = at_least("gradient_clip", gradient_clip, 0, whole=False)
        self.regularisation = at_least("regularisation", regularisation, 0, whole=False)
        self.max_inference_steps = at_least("max_inference_steps", max_inference_steps, 1)

    def check(self) -> None:
        """See ``NoiseMethod.check``."""
        if self.num_inference_steps > self.max_inference_steps:
            raise UserError(
                f"reno: gradients through {self.num_inference_steps} steps are of no use; set its num_inference_steps "
                f"to at most {self.max_inference_steps} (a few-step model), or raise its max_inference_steps"
            )

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``; deterministic."""
        current = noise.to(backbone.device, torch.float32).clone()
        velocity = torch.zeros_like(current)
        cost = self.round_forwards(backbone)
        search = Search(current, self.budget, "reno", self.num_iterations, cost)
        for index in range(self.num_iterations):
            if not search.affords(cost):
                break
            last = index == self.num_iterations - 1
            score, gradient = self._score_and_gradient(current, conditioning, backbone, with_gradient=not last)
            search.record(current, score, cost)
            if gradient is None:
                break
            gradient = clip_gradient(gradient, self.gradient_clip)
            velocity = self.momentum * velocity + gradient
            current = current + self.learning_rate * (gradient + self.momentum * velocity)
        return search.result(noise)

    def _score_and_gradient(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the scores ``(B,)`` without the regulariser, and the gradient of the scores with it."""
        with torch.set_grad_enabled(with_gradient):
            leaf = noise.detach().requires_grad_(with_gradient)
            score = self.noise_score(leaf, conditioning, backbone)
            if not with_gradient:
                return score, None
            aim = score + self.regularisation * norm_log_density(leaf)
            (gradient,) = torch.autograd.grad(aim.sum(), leaf)
        return score.detach(), gradient

    def forwards(self, backbone: Backbone) -> int | None:
        """See ``NoiseMethod.forwards``."""
        cost = self.round_forwards(backbone)
        return None if self.budget.seconds is not None else cost * self.budget.rounds(self.num_iterations, cost)
