"""The batches in the engine, with one dataclass for each stage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from npnet.data.prompts import Sample
from npnet.records import Conditioning, Cost, NoiseResult

if TYPE_CHECKING:
    from npnet.noise.runtime.base import LoadedMethod

Streams = Callable[[Sequence[Sample], str], list[torch.Generator]]
"""Gives each sample the generator of a purpose (``noise method``, ``sampler``): no draw depends on the batch."""


@dataclass(frozen=True)
class Sampling:
    """How noise becomes a picture, the same for every method; see ``LoadedBackbone.sample``."""

    num_inference_steps: int
    guidance_scale: float
    sampler: str = "default"
    seed: int = 0
    """The run's seed: names the streams of the methods' own draws in an evaluation."""
    negative_prompt: str | None = None
    """What guidance leads away from; None: from nothing, as the model was trained."""


def as_bytes(images: Tensor) -> Tensor:
    """Return pictures in [0, 1] as uint8 on the CPU; NaN becomes 0, infinity an end of the range."""
    return (images.float().nan_to_num().clamp(0, 1) * 255).round().byte().cpu()


def every(sample: Sample) -> bool:
    """Keep the pictures of every sample."""
    return True


@dataclass(frozen=True)
class Kept:
    """Which pictures are copied from the device, and in which form.

    Attributes:
        wants: says whether a sample's pictures are kept.
        form: turns pictures ``(b, 3, H, W)``, or ``(b, F, 3, H, W)``, in [0, 1] into that form.
    """

    wants: Callable[[Sample], bool] = every
    form: Callable[[Tensor], Tensor] = as_bytes


@dataclass(frozen=True)
class Batch:
    """B samples with their prompts' embeddings and source noise ``(B, C, *grid)``, on the device."""

    samples: Sequence[Sample]
    conditioning: Conditioning
    noise: Tensor

    def __getitem__(self, rows: slice) -> Batch:
        return Batch(self.samples[rows], self.conditioning[rows], self.noise[rows])

    def __len__(self) -> int:
        return len(self.samples)


@dataclass(frozen=True)
class Task:
    """One batch for one method.

    Attributes:
        label: names the method and its random streams.
        method: loaded.
        batch: its samples.
        both: also denoise the source noise, in the same batch.
        measures: measure what it costs.
        alone: run nothing at the same time, so that the measured peak of memory is its own.
        metrics: labels of the metrics that score it; None means all.
        spaces: labels of the spaces whose features are computed; None means all.
    """

    label: str
    method: LoadedMethod[Any]
    batch: Batch
    both: bool = False
    measures: bool = False
    alone: bool = False
    metrics: Collection[str] | None = None
    spaces: Collection[str] | None = None


@dataclass(frozen=True)
class Spent:
    """What a batch cost: the method, the sampling and the decoding.

    Attributes:
        cost: denoiser passes, and the scorer calls of the method's own search.
        seconds: on the wall.
        peak_bytes: see ``measure``; None where it is unknown.
    """

    cost: Cost = field(default_factory=Cost)
    seconds: float = 0.0
    peak_bytes: int | None = None

    def __add__(self, other: Spent) -> Spent:
        peaks = [peak for peak in (self.peak_bytes, other.peak_bytes) if peak is not None]
        return Spent(self.cost + other.cost, self.seconds + other.seconds, max(peaks) if peaks else None)


@dataclass(frozen=True)
class Denoised:
    """A batch before decoding.

    Attributes:
        task: its task, whose batch may be larger than ``batch``.
        batch: the samples.
        result: of the method, for these samples.
        noise: the method's, ``(B, C, *grid)`` like the source noise.
        latents: clean, ``(B, C, *grid)``; with ``Task.both`` ``(2B, ...)``, those of the source noise first.
        spent: on it so far.
        ready: an event on a GPU when the latents are ready; another stream waits for it.
        has_peak: whether the peak of memory is measured.
    """

    task: Task
    batch: Batch
    result: NoiseResult
    noise: Tensor
    latents: Tensor
    spent: Spent
    ready: torch.cuda.Event | None = None
    has_peak: bool = False


@dataclass(frozen=True)
class Scored:
    """A batch's scores and kept pictures, on the CPU; R rows: B, or 2B with ``Task.both``, the source side first.

    Attributes:
        denoised: the decoded batch.
        scores: metric label -> R scores; NaN where the noise or the picture is not finite.
        pictures: R pictures in the form of ``Kept``; None where it is not kept.
        spent: in all.
        features: label of a space -> R texts, see ``diversity.to_texts``.
        noise: measure of ``whiteness`` -> B values of the method's noise, where ``Task.measures``.
    """

    denoised: Denoised
    scores: dict[str, list[float]]
    pictures: list[Tensor | None]
    spent: Spent
    features: dict[str, list[str]] = field(default_factory=dict)
    noise: dict[str, list[float]] = field(default_factory=dict)
