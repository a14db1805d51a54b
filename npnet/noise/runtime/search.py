"""The loop of all searches: score a noise by its picture, keep the best one, and stay within a budget."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.errors import FieldError
from npnet.memory import SMALLER, Limit
from npnet.noise.runtime.base import LoadedMethod
from npnet.noise.runtime.npnet import LoadedNetwork
from npnet.noise.search import Budget, SearchMethod
from npnet.records import Conditioning, Finished, NoiseResult, TracePoint
from npnet.work.progress import duration

log = logging.getLogger(__name__)
S = TypeVar("S", bound=SearchMethod)
T = TypeVar("T")
LINE_SECONDS = 10.0
"""Between two lines that say how far a search is."""


class Search:
    """The state of one search over a batch: the best noise so far, and what was spent.

    Args:
        noise: the given noise, ``(B, C, *grid)``; it is the result until another one scores.
        budget: see ``Budget``.
        who: the method's name, for the progress lines.
        num_rounds: that there will be at most, for the progress lines.
        round_forwards: that a round costs each sample, for the same.
        threshold: score from which on a sample is done; None: never.
    """

    def __init__(
        self,
        noise: Tensor,
        budget: Budget,
        who: str,
        num_rounds: int,
        round_forwards: int = 1,
        threshold: float | None = None,
    ) -> None:
        self.best = noise.clone()
        self.score = torch.full((len(noise),), -math.inf, device=noise.device)
        self.forwards = 0
        self.trace: list[TracePoint] = []
        self._finished: Finished | None = None
        self._is_finished = torch.zeros(len(noise), dtype=torch.bool, device=noise.device)
        self._threshold = threshold
        self._budget, self._who, self._num_rounds = budget, who, budget.rounds(num_rounds, round_forwards)
        self._started = self._round_started = self._last_line = time.monotonic()
        self._longest_round = 0.0

    @property
    def rows(self) -> list[int]:
        """The places in the batch of the samples that are not done; the host reads scores only under a threshold."""
        everyone = list(range(len(self.best)))
        return everyone if self._threshold is None else chosen(everyone, self.score < self._threshold)

    def affords(self, forwards: int) -> bool:
        """Say whether the budget has room for a round that costs ``forwards`` a sample, and start its clock."""
        self._round_started = now = time.monotonic()
        seconds, limit = now - self._started + self._longest_round, self._budget
        too_long = limit.seconds is not None and seconds > limit.seconds
        return not too_long and (limit.forwards is None or self.forwards + forwards <= limit.forwards)

    def record(
        self,
        noise: Tensor,
        score: Tensor,
        forwards: int,
        rows: Sequence[int] | None = None,
        finished: Finished | None = None,
    ) -> None:
        """End a round: keep what scored better than all before; the first of equals stays, and NaN never wins.

        Nothing is read by the host.

        Args:
            noise: ``(b, C, *grid)``.
            score: ``(b,)``, higher is better.
            forwards: that the round cost each sample.
            rows: the b places of ``noise`` in the batch; all B by default.
            finished: what sampling from ``noise`` gave, without gradients; the same settings in every round.
        """
        rows = range(len(self.best)) if rows is None else rows
        places = torch.tensor(rows, device=self.best.device)
        score = score.detach().to(self.score).nan_to_num(-math.inf, math.inf, -math.inf)
        better = score > self.score[places]
        replace_where(better, self.best, places, noise.detach())
        replace_where(better, self.score, places, score)
        self._keep(finished, places, better)
        self.forwards += forwards
        self.trace.append(TracePoint(self.score.clone(), self.forwards))
        now = time.monotonic()
        self._longest_round = max(self._longest_round, now - self._round_started)
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            log.info(self.line(now - self._started))

    def _keep(self, finished: Finished | None, places: Tensor, better: Tensor) -> None:
        """Keep the samples of what won; a batch of another size rounds otherwise, so only whole ones count."""
        is_whole = finished is not None and len(places) == len(self.best)
        replace_where(better, self._is_finished, places, torch.full_like(better, is_whole))
        if finished is None:
            return
        if self._finished is None:
            self._finished = replace(finished, latents=torch.zeros_like(self.best))
        replace_where(better, self._finished.latents, places, finished.latents)

    def line(self, seconds: float) -> str:
        """Return how far this batch is, in words; samples that stop early make it shorter than is said."""
        left = seconds / len(self.trace) * (self._num_rounds - len(self.trace))
        return (
            f"{self._who}: round {len(self.trace)} of {self._num_rounds} on {len(self.best)} samples, "
            f"{self.forwards} forwards each, {seconds:.0f} s, up to {duration(left)} left, "
            f"best score {self.score.mean():.4g} on average"
        )

    def result(self, like: Tensor) -> NoiseResult:
        """Return the best noise on the device and in the dtype of ``like``, and its sample where that is its own."""
        is_own = like.dtype == self.best.dtype and bool(self._is_finished.all())
        return NoiseResult(self.best.to(like), trace=tuple(self.trace), finished=self._finished if is_own else None)


class LoadedSearch(LoadedMethod[S]):
    """A method that scores noises by their pictures; its scorers are summed by their weights.

    Args:
        method: its description, whose scorer is settled.
        backbone: loaded.
        scorers: loaded metrics by label.

    Raises:
        UserError: no scorer was settled, or it is not there.
    """

    def __init__(self, method: S, backbone: LoadedBackbone, scorers: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__(method, backbone, scorers)
        if not self.scorers:
            raise FieldError("scorer", method.scorer, "the label of a metric is needed, as in scorer=hpsv2")
        network = method.applied_network
        self.network = None if network is None else LoadedNetwork(network, backbone)
        """What proposes; None where noises are scored as they were drawn."""
        self.decoding = Limit("picture to decode", SMALLER)
        """What the device can decode at once."""
        self.scoring = {label: Limit("picture to score", SMALLER) for label in self.scorers}
        """What it can score at once."""

    def picture_score(self, latents: Tensor, conditioning: Conditioning, backbone: LoadedBackbone) -> Tensor:
        """Score clean latents ``(b, C, *grid)`` by their picture: ``(b,)``; differentiable where the scorers are.

        What the device cannot hold at once is decoded and scored in slices.
        """
        decoded = self.decoding.pieces(
            len(latents), lambda rows: (backbone.decode(latents[rows]), conditioning.prompts[rows])
        )
        return torch.cat([self._weighted(images, prompts) for images, prompts in decoded])

    def _weighted(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        scores = []
        for label, scorer in self.scorers.items():
            score = partial(_score, scorer, images, prompts)
            pieces = list(self.scoring[label].pieces(len(images), score))
            scores.append(self.method.weights[label] * torch.cat(pieces))
        return torch.stack(scores).sum(0)

    def finish(self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone) -> Finished:
        """Sample from ``noise``."""
        steps, scale = self.method.num_inference_steps, self.method.guidance_scale
        return Finished(backbone.sample(noise, conditioning, steps, scale), steps, scale)

    def noise_score(self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone) -> Tensor:
        """Sample from ``noise`` and score the pictures: ``(b,)``."""
        return self.picture_score(self.finish(noise, conditioning, backbone).latents, conditioning, backbone)

    def propose(self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone) -> Tensor:
        """Take noises ``(b, C, *grid)`` through the network of the proposals; as they are where there is none."""
        return noise if self.network is None else self.network(noise, conditioning, backbone, []).noise

    def attempt(
        self, search: Search, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, rows: Sequence[int]
    ) -> bool:
        """Score ``noise`` of the samples at ``rows`` and record it; False, and nothing done, where no budget is left.

        Args:
            search: what is recorded in.
            noise: ``(b, C, *grid)``.
            conditioning: of those samples, as the noise.
            backbone: loaded.
            rows: their places in the batch.
        """
        cost = self.method.round_forwards(backbone)
        if not search.affords(cost):
            return False
        finished = self.finish(noise, conditioning, backbone)
        search.record(noise, self.picture_score(finished.latents, conditioning, backbone), cost, rows, finished)
        return True


def _score(scorer: Any, images: Tensor, prompts: Sequence[str], rows: slice) -> Tensor:
    return scorer.score(images[rows], prompts[rows])


def rows_of(values: Sequence[T], rows: Sequence[int]) -> list[T]:
    """Return the items of ``values`` at ``rows``."""
    return [values[row] for row in rows]


def chosen(rows: Sequence[int], which: Tensor) -> list[int]:
    """Return those of ``rows`` that ``which``, ``(b,)`` bool, names; the host waits for the device."""
    return list(itertools.compress(rows, which.tolist()))


def replace_where(which: Tensor, values: Tensor, places: Tensor, new: Tensor) -> None:
    """Put ``new``, ``(b, ...)``, into the ``places`` of ``values`` that ``which``, ``(b,)`` bool, names."""
    values[places] = torch.where(per_sample(which, new), new.to(values), values[places])


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Shape ``(B,)`` so that it multiplies ``(B, C, *grid)``."""
    return values.view(-1, *[1] * (like.ndim - 1))
