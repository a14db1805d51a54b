"""Training on a reward (HyperNoise, arXiv 2508.09968): the network learns to raise the score of its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from npnet.compatibility import check_raised
from npnet.errors import FieldError, under
from npnet.fields import NotNegative
from npnet.metrics.spaces import FeatureSpace, Pixels
from npnet.noise.search import Scorers, weights_of
from npnet.training.drawn import OF_PICTURES, SHAPE_OF_NOISE, DescribedModels, DrawnObjective

if TYPE_CHECKING:
    from npnet.training.run_settings import RunSettings


@dataclass(frozen=True)
class Reward(DrawnObjective):
    """The loss is minus the reward, plus penalties for noise far from N(0, I) and for similar pictures. Experimental.

    The metrics in ``reward`` are marked as optimised for this network. Other metrics of the run are only measured, on
    held-out prompts.

    Args:
        reward: what is maximised: the label of a metric, several labels, or ``{label: weight}``; all must be
            differentiable.
        diversity: weight of the mean similarity of two pictures of the same prompt in a batch.
        diversity_space: the space in which similarity is measured; its features must have gradients.
    """

    runtime = "npnet.training.reward_module:RewardModule"
    needs = ("decode", "differentiable_decode")
    name = "reward"

    reward: Scorers | None = None
    diversity: NotNegative = field(default=0.0, kw_only=True)
    diversity_space: FeatureSpace = field(default_factory=Pixels, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.diversity and self.noises_per_prompt < 2:
            raise FieldError("noises_per_prompt", self.noises_per_prompt, "diversity needs at least 2 of each prompt")

    def monitored(self, settings: RunSettings) -> Sequence[str]:
        """See ``Objective.monitored``."""
        names = ("reward", *(settings.metric or {}), *SHAPE_OF_NOISE, *OF_PICTURES)
        return ("train/loss", "train/reward", *(f"val/{name}" for name in names))

    def optimised(self) -> tuple[str, ...]:
        """See ``Objective.optimised``."""
        return tuple(weights_of(self.reward))

    def described(self, settings: RunSettings) -> DescribedModels:
        """See ``DrawnObjective.described``; metrics without gradients are refused."""
        found = super().described(settings)
        if self.reward is None:
            able = ", ".join(label for label, metric in found.metrics.items() if metric.differentiable) or "none"
            needed = f"the label of a metric with gradients is needed; metric=[...] has: {able}"
            raise FieldError("objective.reward", None, needed)
        if self.diversity_space.domain not in ("any", found.backbone.domain):
            needed = f"it reads pictures of backbone={self.diversity_space.domain} only"
            raise FieldError("objective.diversity_space", type(self.diversity_space).__name__, needed)
        with under("objective.diversity_space"):
            self.diversity_space.check()
        check_raised("objective.reward", self.optimised(), True, found.metrics)
        return found
