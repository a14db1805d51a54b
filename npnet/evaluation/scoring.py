"""Every method's pictures of the same samples, their scores, and what each picture cost.

All methods get the same source noise, the same embeddings (encoded once), the same random numbers for their own draws
and for a stochastic sampler, so that scores can be compared sample by sample.

What a method costs is measured around it and the sampling from its noise, as if it ran alone: encoding the prompt,
drawing the noise and the scores of this evaluation are left out; the scorer calls of its own search are in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone
from npnet.data.prompts import Sample
from npnet.evaluation import memory
from npnet.metrics import Metric
from npnet.noise import NoiseMethod
from npnet.records import Conditioning, Cost, NoiseResult

KeepImages = Callable[[str, Sequence[Sample], Tensor], None]
"""Called with a method's label, the batch's samples and their pictures, ``(B, 3, H, W)`` or ``(B, F, 3, H, W)``."""


@dataclass(frozen=True)
class Sampling:
    """How noise becomes a picture, the same for every method; see ``Backbone.sample``."""

    num_inference_steps: int
    guidance_scale: float
    sampler: str = "default"
    seed: int = 0
    """The run's seed: names the streams of the methods' own draws."""


@dataclass
class Trace:
    """Score against cost of one batch of a search: ``scores[i]`` are B best scores after ``forwards[i]`` a sample."""

    forwards: list[float]
    scores: list[list[float]]


@dataclass
class MethodScores:
    """What one method did on N samples.

    Attributes:
        scores: metric label -> N scores, on the metric's own scale.
        cost: totals over the N samples.
        batches: (number of samples, seconds) of each batch.
        peak_bytes: the most memory held during a batch, weights included, see ``memory``; None where it is unknown.
        traces: one for each batch, where the method searches.
    """

    scores: dict[str, list[float]]
    cost: Cost = field(default_factory=Cost)
    batches: list[tuple[int, float]] = field(default_factory=list)
    peak_bytes: int | None = None
    traces: list[Trace] = field(default_factory=list)


def evaluate_methods(
    backbone: Backbone,
    methods: Mapping[str, NoiseMethod],
    metrics: Mapping[str, Metric],
    samples: Sequence[Sample],
    sampling: Sampling,
    batch_size: int = 64,
    keep_images: KeepImages | None = None,
    report: Callable[[int, dict[str, MethodScores]], None] | None = None,
) -> dict[str, MethodScores]:
    """Make and score every method's pictures of ``samples``; writes no file.

    Args:
        backbone: loaded.
        methods: loaded, by label.
        metrics: loaded, by label.
        samples: prompts with seeds; their order is the order of the scores.
        sampling: how noise becomes a picture.
        batch_size: samples computed at once; values change by rounding alone.
        keep_images: see ``KeepImages``.
        report: called after each batch with the number of samples done and the scores so far.

    Returns:
        The scores and costs of each method, by label.
    """
    records = {label: MethodScores({name: [] for name in metrics}) for label in methods}
    conditioning = backbone.encode([sample.prompt for sample in samples])
    shape = backbone.latent_shape()
    for start in range(0, len(samples), batch_size):
        batch = samples[start : start + batch_size]
        part = conditioning[start : start + batch_size]
        noise = seeding.source_noises([sample.seed for sample in batch], shape).to(backbone.device)
        for label, method in methods.items():
            images = _measured(records[label], backbone, method, metrics, noise, part, batch, sampling)
            for name, metric in metrics.items():
                records[label].scores[name] += _scores(metric, images, batch)
            if keep_images is not None:
                keep_images(label, batch, images)
        if report is not None:
            report(start + len(batch), records)
    return records


def _scores(metric: Metric, images: Tensor, batch: Sequence[Sample]) -> list[float]:
    """Score a batch; a picture that is not finite gets NaN, and the others their own scores all the same."""
    scores = torch.full((len(batch),), float("nan"), dtype=torch.float64)
    rows = torch.isfinite(images).flatten(1).all(dim=1).nonzero().flatten().tolist()
    if rows:
        with torch.no_grad():
            found = metric.score(images[rows], [batch[row].prompt for row in rows])
        scores[rows] = found.double().cpu()
    return scores.tolist()


def _measured(
    record: MethodScores,
    backbone: Backbone,
    method: NoiseMethod,
    metrics: Mapping[str, Metric],
    noise: Tensor,
    conditioning: Conditioning,
    batch: Sequence[Sample],
    sampling: Sampling,
) -> Tensor:
    """Make one method's pictures of a batch and add what they cost to ``record``."""
    cost_before, calls_before = backbone.cost, _calls(metrics)
    has_peak = memory.start_peak(backbone.device)
    started = time.perf_counter()
    with torch.no_grad():  # methods that need gradients switch them on themselves
        result = method(noise, conditioning, backbone, _generators(batch, "noise method", sampling.seed))
        latents = backbone.sample(
            result.noise,
            conditioning,
            sampling.num_inference_steps,
            sampling.guidance_scale,
            sampler=sampling.sampler,
            generators=_generators(batch, "sampler", sampling.seed),
        )
        images = backbone.decode(latents)
    peak = memory.peak_bytes(backbone.device) if has_peak else None
    record.batches.append((len(batch), time.perf_counter() - started))
    if peak is not None:
        record.peak_bytes = max(record.peak_bytes or 0, peak)
    record.cost += backbone.cost - cost_before
    record.cost += Cost(scorer_calls=_calls(metrics) - calls_before)
    record.traces += _trace(result)
    return images


def _generators(batch: Sequence[Sample], purpose: str, seed: int) -> list[torch.Generator]:
    """Return one generator for each sample: of its seed and prompt, so that nothing depends on the batch."""
    return [seeding.stream(sample.seed, purpose, seed, sample.prompt) for sample in batch]


def _calls(metrics: Mapping[str, Metric]) -> int:
    return sum(metric.calls for metric in metrics.values())


def _trace(result: NoiseResult) -> list[Trace]:
    if not result.trace:
        return []
    points: list[Any] = list(result.trace)
    return [Trace([float(p.forwards) for p in points], [p.score.double().cpu().tolist() for p in points])]
