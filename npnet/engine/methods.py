"""The pictures of every method for the same samples, their scores, and the cost of each picture.

All methods get the same source noise, the same embeddings (encoded once), and the same random numbers for their own
draws and for a stochastic sampler. So scores can be compared sample by sample.

The cost of a method is that of the method itself, the sampling from its noise, and the decoding, as if it ran alone. It
includes the scorer calls of its own search, but not encoding the prompt, drawing the noise, or the scores of this
evaluation. The peak of memory is that of the method's first batch, during which nothing else is scored. Measuring all
batches would cost time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.data.prompts import Sample
from npnet.engine.batches import Kept, Sampling, Scored, Task
from npnet.engine.denoising import Denoising
from npnet.engine.pipeline import Pipeline
from npnet.engine.scoring import Scoring
from npnet.metrics.runtime.space import LoadedSpace
from npnet.records import Cost, NoiseResult

Take = Callable[[str, Sample, Tensor], None]
"""Given a method's label, a sample and its kept picture, ``(3, H, W)`` or ``(F, 3, H, W)`` in the form of ``Kept``."""


@dataclass
class Trace:
    """Score against cost of one batch of a search: ``scores[i]`` are B best scores after ``forwards[i]`` a sample."""

    forwards: list[float]
    scores: list[list[float]]


@dataclass
class MethodScores:
    """The results of one method on N samples.

    Attributes:
        scores: metric label -> N scores, on the metric's own scale.
        cost: totals over the N samples.
        batches: (number of samples, seconds) of each batch.
        peak_bytes: the most memory held during a batch, weights included, see ``measure``; None where it is unknown.
        traces: one for each batch, where the method searches.
        features: label of a space -> N texts, see ``diversity.to_texts``.
        noise: measure of ``whiteness`` -> N values of the method's noise.
    """

    scores: dict[str, list[float]]
    cost: Cost = field(default_factory=Cost)
    batches: list[tuple[int, float]] = field(default_factory=list)
    peak_bytes: int | None = None
    traces: list[Trace] = field(default_factory=list)
    features: dict[str, list[str]] = field(default_factory=dict)
    noise: dict[str, list[float]] = field(default_factory=dict)

    def add(self, scored: Scored) -> None:
        """Add the results of some samples, without their traces."""
        for name, found in scored.scores.items():
            self.scores[name] += found
        for name, texts in scored.features.items():
            self.features.setdefault(name, []).extend(texts)
        for name, values in scored.noise.items():
            self.noise.setdefault(name, []).extend(values)
        self.cost += scored.spent.cost
        self.batches.append((len(scored.denoised.batch), scored.spent.seconds))
        if scored.spent.peak_bytes is not None:
            self.peak_bytes = max(self.peak_bytes or 0, scored.spent.peak_bytes)


Watch = Callable[[int, dict[str, MethodScores]], None]
"""Called after each batch with the number of samples done and the scores so far."""


class Evaluator:
    """Makes and scores the pictures of several methods, and remembers how much fits on the device.

    Args:
        backbone: loaded.
        methods: loaded, by label.
        scorers: loaded metrics by label.
        sampling: how noise becomes a picture.
        batch_size: samples computed at once; it changes values only by rounding.
        kept: which pictures are passed to ``take`` in ``run``; None means none.
        spaces: loaded spaces of features by label.
    """

    def __init__(
        self,
        backbone: Any,
        methods: Mapping[str, Any],
        scorers: Mapping[str, Any],
        sampling: Sampling,
        batch_size: int = 64,
        kept: Kept | None = None,
        spaces: Mapping[str, LoadedSpace] | None = None,
    ) -> None:
        self.backbone, self.methods, self.scorers = backbone, dict(methods), dict(scorers)
        self.sampling, self.batch_size = sampling, batch_size
        self.denoising = Denoising(backbone, sampling, self._streams, list(scorers.values()))
        self.scoring = Scoring(backbone, scorers, kept, spaces)
        self.pipeline = Pipeline(self.denoising, self.scoring)
        self._begun: set[str] = set()

    def run(
        self,
        samples: Sequence[Sample],
        take: Take | None = None,
        watch: Watch | None = None,
        labels: Collection[str] | None = None,
        metrics: Collection[str] | None = None,
        spaces: Collection[str] | None = None,
    ) -> dict[str, MethodScores]:
        """Make and score every method's pictures of ``samples``.

        Args:
            samples: prompts with seeds; their order is the order of the scores.
            take: see ``Take``.
            watch: see ``Watch``.
            labels: of the methods; None: all.
            metrics: labels of those that score; None: all.
            spaces: labels of those whose features are taken; None: all.

        Returns:
            The scores and costs of each method, by label.
        """
        chosen = {label: method for label, method in self.methods.items() if labels is None or label in labels}
        names = [name for name in self.scorers if metrics is None or name in metrics]
        records = {label: MethodScores({name: [] for name in names}) for label in chosen}
        counted = dict.fromkeys(chosen, 0)
        searched: NoiseResult | None = None
        said = 0
        for scored in self.pipeline.run(self._tasks(samples, chosen, names, spaces)):
            label, batch = scored.denoised.task.label, scored.denoised.batch
            records[label].add(scored)
            if scored.denoised.result is not searched:  # a batch that was divided after the search has one trace
                searched = scored.denoised.result
                records[label].traces += trace_of(searched)
            if take is not None:
                for sample, picture in zip(batch.samples, scored.pictures, strict=True):
                    if picture is not None:
                        take(label, sample, picture)
            counted[label] += len(batch)
            done = min(counted.values())
            if watch is not None and done > said and (done == len(samples) or done % self.batch_size == 0):
                watch(done, records)
                said = done
        return records

    def _tasks(
        self,
        samples: Sequence[Sample],
        methods: Mapping[str, Any],
        metrics: Collection[str],
        spaces: Collection[str] | None,
    ) -> Iterator[Task]:
        conditioning = self.denoising.encode(samples)
        for start in range(0, len(samples), self.batch_size):
            part = slice(start, start + self.batch_size)
            batch = self.denoising.draw(samples[part], conditioning[part])
            for label, method in methods.items():
                first = self._is_first(label)
                yield Task(label, method, batch, measures=True, alone=first, metrics=metrics, spaces=spaces)

    def _is_first(self, label: str) -> bool:
        first = label not in self._begun
        self._begun.add(label)
        return first

    def _streams(self, samples: Sequence[Sample], purpose: str) -> list[torch.Generator]:
        """Return one generator for each sample: of its seed and prompt, so that nothing depends on the batch."""
        return [seeding.stream(sample.seed, purpose, self.sampling.seed, sample.prompt) for sample in samples]


def evaluate_methods(
    backbone: Any,
    methods: Mapping[str, Any],
    scorers: Mapping[str, Any],
    samples: Sequence[Sample],
    sampling: Sampling,
    batch_size: int = 64,
    kept: Kept | None = None,
    take: Take | None = None,
    watch: Watch | None = None,
) -> dict[str, MethodScores]:
    """Make and score every method's pictures of ``samples`` once, without files. See ``Evaluator``."""
    return Evaluator(backbone, methods, scorers, sampling, batch_size, kept).run(samples, take, watch)


def trace_of(result: NoiseResult) -> list[Trace]:
    """Return the trace of a search's batch, or nothing."""
    if not result.trace:
        return []
    points: list[Any] = list(result.trace)
    return [Trace([float(p.forwards) for p in points], [p.score.double().cpu().tolist() for p in points])]
