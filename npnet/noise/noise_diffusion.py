"""Noise Diffusion (CVPR 2025, arXiv 2411.16503) mixes fresh noise in: the higher the picture scores, the less.

One round mixes the noise z with fresh noise sigma, z' = sqrt(1 - gamma) z + sqrt(gamma) sigma, which is N(0, I) again
where sigma is unselected. The score s in [0, 1] sets gamma = 1 - sqrt(s). Of N fresh noises sigma_i, the round takes
the one with the largest <g, v_i> / ||v_i||^2, where v_i = z'_i - z and g is the gradient of the score with respect to
z.

The published code treats the predictions of the denoiser as constants. The sampler is then z_0 = c z + (constants) with
one scalar c > 0 (13.15 for SD 1.4; 1 for flow matching, whose velocity is kept constant), so g = c dS/dz_0. Neither the
choice of sigma_i nor a normalised step depends on c. So no graph through the denoiser is needed: g is computed through
the decoder and the scorer alone.

Differences from the published code: pictures are in [0, 1] where the scorer expects that; the best noise seen is
returned, not the last; candidates come from the sample's generator; prompts are batched; a sample stops when its score
reaches a threshold (at a score of 1, gamma and every v_i are 0).

Symbols: z ``noise``, sigma ``fresh``, s ``share`` (the score mapped to [0, 1]), g ``gradient``, M ``num_rounds``,
N ``num_candidates``, T ``num_inference_steps``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from npnet.bounds import Number
from npnet.errors import FieldError
from npnet.fields import Count, Positive, Whole
from npnet.noise.search import SearchMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits

Variant = Literal["noise_diffusion", "pgd", "random_sampling", "random_diffusion", "mean_variance"]
FOLLOW_GRADIENTS = ("noise_diffusion", "pgd", "mean_variance")


@dataclass(frozen=True)
class NoiseDiffusion(SearchMethod):
    """Noise Diffusion, and the alternatives its paper compares with.

    Args:
        num_inference_steps: see ``SearchMethod`` (published: 50).
        guidance_scale: see ``SearchMethod`` (published: 7.5).
        scorer: what is maximised, see ``SearchMethod``; published: VQAScore.
        variant: ``noise_diffusion``; ``random_diffusion`` (one candidate, no selection); ``random_sampling`` (fresh
            noise each round); ``pgd`` (z + step_size sqrt(d) g / ||g||: leaves N(0, I)); ``mean_variance`` (InitNO's
            shift and stretch by Adam on the score, divergence at most 1e-3). Only the first is in the published code.
            The step sizes of the others are not published and are our choice.
        num_rounds: M (published: 50, though the published script for SD passes 1).
        num_candidates: N (published: 50).
        score_range: the scorer's values that count as s = 0 and s = 1 (published: 0 and 1, a probability).
        pgd_step_size: length of a step of ``pgd``, as a share of the noise's norm (our choice).
        learning_rate: of Adam in ``mean_variance`` (InitNO's 1e-2).
        budget: see ``SearchMethod``.
        threshold: s at which a sample stops (our choice: 0.98). None never stops a sample, but at a score of 1 its
            noise no longer changes.
        proposal: see ``SearchMethod``: of the first noise, and of every one that ``random_sampling`` draws.
        network_path: see ``SearchMethod``.

    Cost, where no sample stops early: (M + 1) T forwards (twice under guidance), no backward through the denoiser,
    M + 1 scorer calls, and M gradients through decoder and scorer.
    """

    runtime = "npnet.noise.runtime.noise_diffusion:LoadedNoiseDiffusion"

    variant: Variant = "noise_diffusion"
    num_rounds: Whole = 50
    num_candidates: Count = 50
    score_range: tuple[Number, Number] = (0.0, 1.0)
    pgd_step_size: Positive = 0.05
    learning_rate: Positive = 1e-2
    threshold: Number | None = field(default=0.98, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.score_range[0] < self.score_range[1]:
            raise FieldError("score_range", self.score_range, "two numbers are needed, the lower one first")

    @property
    def needs_gradients(self) -> bool:
        """See ``NoiseMethod.needs_gradients``."""
        return self.variant in FOLLOW_GRADIENTS

    @property
    def needs(self) -> tuple[str, ...]:
        """See ``NoiseMethod.needs``."""
        return ("decode", "differentiable_decode") if self.needs_gradients else ("decode",)

    @property
    def variance_bound(self) -> tuple[float, float]:
        """See ``NoiseMethod.variance_bound``; the steps of ``pgd`` in one direction add up."""
        if self.variant == "pgd":
            return (0.5, (1.05 + self.num_rounds * self.pgd_step_size) ** 2)
        return super().variance_bound

    def forwards(self, backbone: BackboneTraits) -> int | None:
        """See ``NoiseMethod.forwards``; known where no threshold can stop a sample."""
        return self.foretold(self.num_rounds + 1, backbone)
