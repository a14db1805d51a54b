"""What methods that search share: score a noise by its picture, keep the best one, stay within a budget.

A score is the weighted sum of the ``scorer`` metrics of the picture that the backbone's own deterministic sampler makes
of the noise, under the sampling's settings. It is what the method optimises, so it is no independent evidence.

Cost is counted in denoiser forwards for each sample, the sampling from the returned noise excluded: scoring a noise
costs ``num_inference_steps`` forwards, twice that under guidance.

A search follows small differences: where two candidates score alike to rounding, another batch size can decide
otherwise. A budget of seconds makes the result depend on the machine, and is the one setting that does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from npnet.errors import UserError, unknown
from npnet.noise.base import NoiseMethod
from npnet.records import Conditioning, NoiseResult, TracePoint
from npnet.work.progress import duration

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone

Scorers = str | Sequence[str] | Mapping[str, float]
"""A metric's label, several labels (their scores are added), or ``{label: weight}``."""
LINE_SECONDS = 10.0
"""Between two lines that say how far a search is."""


@dataclass(frozen=True)
class Budget:
    """What one search may spend; None is no limit.

    Attributes:
        forwards: denoiser forwards for each sample, the sampling from the result excluded; never exceeded.
        seconds: for one batch of prompts; checked between rounds, a round being expected to last as long as the
            longest so far.
    """

    forwards: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, limits: Mapping[str, float | None] | None) -> Budget:
        """Read the ``budget`` node of a YAML.

        Raises:
            UserError: a key is unknown, or a limit is not a number of at least 0.
        """
        limits = dict(limits or {})
        for name, limit in limits.items():
            if name not in ("forwards", "seconds"):
                raise unknown("budget", name, ("forwards", "seconds"))
            number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
            if limit is not None and not (number and math.isfinite(limit) and limit >= 0):
                raise UserError(f"budget.{name}={limit}: a number of at least 0, or null, is needed")
        return cls(**limits)

    def rounds(self, wanted: int, forwards: int) -> int:
        """Return how many of the ``wanted`` rounds fit, each costing ``forwards`` a sample."""
        if self.forwards is None or forwards == 0:
            return wanted
        return min(wanted, int(self.forwards // forwards))


class Search:
    """The state of one search over a batch: the best noise so far, and what was spent.

    Args:
        noise: ``(B, C, *grid)`` that was given; it is the result until something scores.
        budget: see ``Budget``.
        who: the method's name, for the progress lines.
        num_rounds: that there will be at most, for the progress lines.
        round_forwards: that a round costs each sample, for the same.
    """

    def __init__(self, noise: Tensor, budget: Budget, who: str, num_rounds: int, round_forwards: int = 1) -> None:
        self.best = noise.clone()
        self.score = torch.full((len(noise),), -math.inf, device=noise.device)
        self.forwards = 0
        self.trace: list[TracePoint] = []
        self._budget, self._who, self._num_rounds = budget, who, budget.rounds(num_rounds, round_forwards)
        self._started = self._round_started = self._last_line = time.monotonic()
        self._longest_round = 0.0

    def affords(self, forwards: int) -> bool:
        """Say whether the budget has room for a round that costs ``forwards`` a sample, and start its clock."""
        self._round_started = now = time.monotonic()
        seconds, limit = now - self._started + self._longest_round, self._budget
        too_long = limit.seconds is not None and seconds > limit.seconds
        return not too_long and (limit.forwards is None or self.forwards + forwards <= limit.forwards)

    def record(self, noise: Tensor, score: Tensor, forwards: int, rows: Tensor | None = None) -> None:
        """End a round: keep what scored better than all before; the first of equals stays, and NaN never wins.

        Args:
            noise: ``(b, C, *grid)``.
            score: ``(b,)``, higher is better.
            forwards: that the round cost each sample.
            rows: ``(b,)``, the places of ``noise`` in the batch; all B by default.
        """
        rows = torch.arange(len(self.best), device=self.best.device) if rows is None else rows
        score = score.detach().to(self.score).nan_to_num(-math.inf, math.inf, -math.inf)
        better = score > self.score[rows]
        self.best[rows[better]] = noise.detach()[better].to(self.best)
        self.score[rows[better]] = score[better]
        self.forwards += forwards
        self.trace.append(TracePoint(self.score.clone(), self.forwards))
        now = time.monotonic()
        self._longest_round = max(self._longest_round, now - self._round_started)
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            print(self.line(now - self._started), flush=True)

    def line(self, seconds: float) -> str:
        """Return how far this batch is, in words; samples that stop early make it shorter than is said."""
        left = seconds / len(self.trace) * (self._num_rounds - len(self.trace))
        return (
            f"{self._who}: round {len(self.trace)} of {self._num_rounds} on {len(self.best)} samples, "
            f"{self.forwards} forwards each, {seconds:.0f} s, up to {duration(left)} left, "
            f"best score {self.score.mean():.4g} on average"
        )

    def result(self, like: Tensor) -> NoiseResult:
        """Return the best noise on the device and in the dtype of ``like``."""
        return NoiseResult(self.best.to(like), trace=tuple(self.trace))


class SearchMethod(NoiseMethod):
    """A method that scores noises by their pictures.

    Args:
        scorer: what is maximised, see ``Scorers``.
        num_inference_steps: of the sampling that makes the pictures.
        guidance_scale: of the same.
        budget: ``{forwards, seconds}``, see ``Budget``.
    """

    needs = ("decode",)
    needs_gradients: bool = False
    """Whether the scorers must be differentiable."""

    def __init__(
        self,
        scorer: Scorers,
        num_inference_steps: int,
        guidance_scale: float,
        budget: Mapping[str, float | None] | None = None,
    ) -> None:
        self.weights = _weights(scorer)
        self.scorers = tuple(self.weights)
        self.num_inference_steps = at_least("num_inference_steps", num_inference_steps, 1)
        self.guidance_scale = float(at_least("guidance_scale", guidance_scale, 0, whole=False))
        self.budget = Budget.of(budget)
        self._metrics: dict[str, Any] = {}

    def load(self, backbone: Backbone, metrics: Mapping[str, Any] | None = None) -> Self:
        """See ``NoiseMethod.load``.

        Raises:
            UserError: a scorer is missing, or has no gradients where the method needs them.
        """
        given = dict(metrics or {})
        for name in self.scorers:
            if name not in given:
                raise unknown(f"scorer of {type(self).__name__}", name, given)
            if self.needs_gradients and not given[name].differentiable:
                raise UserError(f"{type(self).__name__} follows gradients, which the metric {name} does not have")
        self._metrics = {name: given[name] for name in self.scorers}
        return self

    def round_forwards(self, backbone: Backbone) -> int:
        """Return what scoring one noise costs: forwards of each sample."""
        guided = self.guidance_scale != 1 and "unconditional_branch" in backbone.capabilities
        return self.num_inference_steps * (2 if guided else 1)

    def picture_score(self, latents: Tensor, conditioning: Conditioning, backbone: Backbone) -> Tensor:
        """Score clean latents ``(b, C, *grid)`` by their picture: ``(b,)``; differentiable where the scorers are."""
        images = backbone.decode(latents)
        scores = [weight * self._metrics[name].score(images, conditioning.prompts) for name, weight in self._scored()]
        return torch.stack(scores).sum(0)

    def noise_score(self, noise: Tensor, conditioning: Conditioning, backbone: Backbone) -> Tensor:
        """Sample from ``noise`` and score the pictures: ``(b,)``."""
        latents = backbone.sample(noise, conditioning, self.num_inference_steps, self.guidance_scale)
        return self.picture_score(latents, conditioning, backbone)

    def attempt(self, search: Search, noise: Tensor, conditioning: Conditioning, backbone: Backbone) -> bool:
        """Score ``noise`` of the whole batch and record it; False, and nothing done, where the budget is spent."""
        cost = self.round_forwards(backbone)
        if not search.affords(cost):
            return False
        search.record(noise, self.noise_score(noise, conditioning, backbone), cost)
        return True

    def _scored(self) -> list[tuple[str, float]]:
        if not self._metrics:
            raise RuntimeError(f"{type(self).__name__} was not loaded: call load(backbone, metrics) first")
        return list(self.weights.items())


def _weights(scorer: Scorers) -> dict[str, float]:
    if isinstance(scorer, str):
        return {scorer: 1.0}
    if isinstance(scorer, Mapping):
        weights = {str(name): float(weight) for name, weight in scorer.items()}
    else:
        weights = {str(name): 1.0 for name in scorer or ()}
    if not weights:
        raise UserError("scorer: the label of a metric is needed, as in scorer=hpsv2")
    return weights


def at_least(name: str, value: Any, low: float, whole: bool = True) -> Any:
    """Check a number of a constructor and return it.

    Raises:
        UserError: it is no (whole) number, or below ``low``.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value < low:
        raise UserError(f"{name}={value}: a {'whole ' if whole else ''}number of at least {low:g} is needed")
    return value


def rows_of(values: Sequence[Any], rows: Tensor) -> list[Any]:
    """Return the items of ``values`` at ``rows``."""
    return [values[row] for row in rows.tolist()]


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape ``(B,)`` so that it multiplies ``(B, C, *grid)``."""
    return values.view(-1, *[1] * (like.ndim - 1))
