"""ReNO (NeurIPS 2024, arXiv 2406.04312): gradient ascent on the score, through all steps of a few-step sampler.

It maximises sum_i lambda_i r_i(picture) - 0.01 (||z||^2 / 2 - (d - 1) log ||z||); the second term is the log-density of
the norm of d normal numbers and is largest at ||z|| = sqrt(d - 1). The optimiser is Nesterov SGD with a learning rate
of 5, on gradients clipped to a norm of 0.1. So the first step has a length of at most 0.95, and later steps of at most
5, while ||z|| is 128 for SDXL-Turbo at 512 x 512.

Every noise is scored before the next step, and the one with the best score (without the regulariser) is returned.
Published weights: ``{hpsv2: 5.0, imagereward: 1.0, pickscore: 0.05, clipscore: 0.01}``, clipscore (off by default) on
the scale 100 cos of ViT-H; ours is 2.5 max(cos, 0), so 0.4 weighs the same.

**White noise**: ``projection`` keeps the noise close to white Gaussian noise ("Gradient preconditioning for efficient
and reliable reward-guided generation", ICML 2026, arXiv 2602.08646; formulas in ``runtime.white``). It moves the
gradient, the noise after each step, or both to the nearest point with a flat spectrum. The paper projects both, and
uses Adam (0.1 for SDXL-Turbo, 0.02 for FLUX-schnell) without the regulariser. Here the optimiser stays that of ReNO,
because Adam amplifies rounding errors.

Differences from the published code: the gradient is clipped for each sample (the published code has batches of one),
and a gradient that is not finite leaves its sample unchanged. Gradients through long samplers are useless (the authors'
issue 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from npnet.errors import FieldError, UserError
from npnet.fields import AtLeast, Below, Count, NotNegative, Positive
from npnet.noise.search import SearchMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits

BLOCK_SIZE = 16
"""Neighbouring frequencies that ``projection`` gives the norms of white noise together (published)."""


def check_white(num_values: int) -> None:
    """Refuse noise whose frequencies cannot be divided into blocks.

    Args:
        num_values: of one sample.

    Raises:
        UserError: the number is not a multiple of 32.
    """
    if num_values % (2 * BLOCK_SIZE):
        has = f"projection needs noise of a multiple of {2 * BLOCK_SIZE} numbers, and a sample has {num_values}"
        raise UserError(f"{has}; choose another size of the pictures, or projection=null")


def check_few_steps(num_inference_steps: int, most: int) -> None:
    """Refuse a sampler that is too long for its gradient.

    Raises:
        FieldError: names ``num_inference_steps``.
    """
    if num_inference_steps > most:
        useless = f"gradients through {num_inference_steps} steps are useless"
        needed = f"{useless}; set it to at most {most} (a few-step model), or raise max_inference_steps"
        raise FieldError("num_inference_steps", num_inference_steps, needed)


@dataclass(frozen=True)
class ReNO(SearchMethod):
    """Reward-based noise optimisation, for few-step models.

    Args:
        num_inference_steps: see ``SearchMethod`` (published: 1).
        guidance_scale: see ``SearchMethod``.
        scorer: see ``SearchMethod``, with weights ``{label: weight}``; must be differentiable.
        num_iterations: pictures scored (published: 50).
        learning_rate: published: 5 (10 for Hyper-SD).
        momentum: Nesterov's (published: 0.9).
        gradient_clip: norm to which a sample's gradient is clipped (published: 0.1).
        regularisation: weight of the norm's term (published: 0.01).
        projection: what is made white: the ``gradient``, the ``noise`` after each step, or ``both`` (as in arXiv
            2602.08646); None is ReNO as published.
        max_inference_steps: longer samplers are refused, because their gradients are useless and their graphs large
            (our choice: 8).
        budget: see ``SearchMethod``, and for ``threshold``, ``proposal`` (of the start) and ``network_path``.

    Cost: ``num_iterations`` x ``num_inference_steps`` forwards (twice under guidance), the same number of backwards
    except those of one iteration, and ``num_iterations`` scorer calls. The graphs of all steps are in memory at
    once.
    """

    runtime = "npnet.noise.runtime.reno:LoadedReNO"
    needs = ("decode", "differentiable_decode")
    needs_gradients = True

    num_iterations: Count = 50
    learning_rate: Positive = 5.0
    momentum: Annotated[float, AtLeast(0), Below(1)] = 0.9
    gradient_clip: Positive = 0.1
    regularisation: NotNegative = 0.01
    projection: Literal["gradient", "noise", "both"] | None = None
    max_inference_steps: Count = 8

    @property
    def variance_bound(self) -> tuple[float, float]:
        """See ``NoiseMethod.variance_bound``."""
        return (0.7, 1.4) if self.proposal is None else super().variance_bound

    def check(self) -> None:
        """See ``Description.check``: long samplers are refused."""
        super().check()
        check_few_steps(self.num_inference_steps, self.max_inference_steps)

    def check_backbone(self, backbone: BackboneTraits) -> None:
        """See ``NoiseMethod.check_backbone``; a projection needs noise that divides into blocks."""
        super().check_backbone(backbone)
        if self.projection is not None:
            check_white(math.prod(backbone.latent_shape()))

    def finishes(self, backbone: BackboneTraits, num_inference_steps: int, guidance_scale: float) -> bool:
        """See ``NoiseMethod.finishes``; no, because a device may add in another order when it keeps gradients."""
        return False

    def forwards(self, backbone: BackboneTraits) -> int | None:
        """See ``NoiseMethod.forwards``."""
        return self.foretold(self.num_iterations, backbone)
