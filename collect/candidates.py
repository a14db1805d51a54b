"""One batch: source noise -> golden candidate by any noise method -> both pictures -> scores.

No evaluation of the denoiser is made twice: what the noise method learnt of the source noise at the first step starts
the sampling from it too, and both sides are denoised in one batch. At N steps with guidance, re-denoise sampling
costs 4 N + 1 forwards for each pair: 2 branches x N steps x 2 sides, and 1 for the step back.

On a GPU a batch is decoded and scored by a second thread, on a stream of its own, while the next one is denoised.

Everything is float32 until it is stored: the golden picture is made from the float32 golden noise, and the noises are
rounded to float16 only in the shard.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones import Backbone
from npnet.backbones.devices import placed
from npnet.data.prompts import Sample
from npnet.errors import UserError, under
from npnet.instantiate import build, build_all
from npnet.metrics.base import Metric
from npnet.noise import NoiseMethod
from npnet.noise.parts import check_parts
from npnet.records import Branches, Conditioning


@dataclass(frozen=True)
class Candidates:
    """A batch of tried pairs, on the CPU.

    Attributes:
        samples: B prompts with their seeds.
        source_noise: ``(B, C, *grid)`` float32.
        golden_noise: ``(B, C, *grid)`` float32.
        images: source and golden pictures, each ``(B, 3, H, W)`` float32 in [0, 1].
        scores: for each sample, metric label -> (source, golden); NaN where the noise or a picture is not finite.
        conditioning: of the B prompts.
    """

    samples: Sequence[Sample]
    source_noise: Tensor
    golden_noise: Tensor
    images: tuple[Tensor, Tensor]
    scores: list[dict[str, tuple[float, float]]]
    conditioning: Conditioning


class Denoised(NamedTuple):
    """A batch before its pictures: B samples, their noises on the device, and the latents of both sides, ``(2B, ...)``.

    ``ready`` is recorded on a GPU where the latents are done; another stream waits for it.
    """

    samples: Sequence[Sample]
    conditioning: Conditioning
    source_noise: Tensor
    golden_noise: Tensor
    latents: Tensor
    ready: torch.cuda.Event | None


class CandidateMaker:
    """Turns samples into candidates.

    Args:
        backbone: the model.
        label: of the noise method; names its random streams.
        method: makes the golden noise.
        metrics: label -> metric.
        num_inference_steps: of the sampling.
        guidance_scale: of the sampling, diffusers convention.
    """

    def __init__(
        self,
        backbone: Backbone,
        label: str,
        method: NoiseMethod,
        metrics: Mapping[str, Metric],
        num_inference_steps: int,
        guidance_scale: float,
    ) -> None:
        self.backbone: Any = backbone  # loaded, once `load` is called
        self.label, self.method, self.metrics = label, method, dict(metrics)
        self.num_inference_steps, self.guidance_scale = num_inference_steps, guidance_scale
        self.batch_limit: int | None = None
        """Pairs that the device can hold at once, once it ran out of memory."""
        self.smallest_batch: int | None = None
        """Pairs that were computed at once in this chunk where the batch had to be split; None where it had not."""
        # a method with scorers decodes and scores while it searches; two threads must not use one metric
        self.overlaps = False
        """Whether a batch is scored while the next one is denoised; on a CPU both would want the same cores."""
        self._stream: torch.cuda.Stream | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: str | None = None) -> CandidateMaker:
        """Build every node of a resolved configuration and check that they fit together; loads nothing.

        Args:
            config: what ``make_plan`` checked.
            device: see ``placed``.

        Raises:
            UserError: a node cannot be built, or two of them do not go together.
        """
        backbone = build(placed(config["backbone"], device), "backbone")
        ((label, method),) = build_all(config["noise"], "noise").items()
        metrics = build_all(config["metric"], "metric")
        check_parts(backbone, {label: method}, metrics, config["num_inference_steps"])
        return cls(backbone, label, method, metrics, config["num_inference_steps"], float(config["guidance_scale"]))

    def load(self) -> CandidateMaker:
        """Load the weights of every part."""
        if isinstance(self.backbone, Backbone):
            with under("backbone"):
                self.backbone = self.backbone.load()
        self.overlaps = self.backbone.device.type == "cuda" and not self.method.scorers
        for metric in self.metrics.values():
            metric.load(self.backbone.device)
        self.method.load(self.backbone, {label: self.metrics[label] for label in self.method.scorers})
        return self

    def start_chunk(self) -> None:
        """Forget what is noted of the chunk before, so that a chunk's notes do not depend on who computes it."""
        self.smallest_batch = None
        for metric in self.metrics.values():
            metric.truncated.clear()

    def encode(self, samples: Sequence[Sample]) -> Conditioning:
        """Encode the prompts of a chunk, each distinct one once; one row for each sample."""
        with torch.no_grad():
            return self.backbone.encode([sample.prompt for sample in samples])

    def batches(self, samples: Sequence[Sample], conditioning: Conditioning, batch_size: int) -> Iterator[Candidates]:
        """Compute the candidates of a chunk, in order; overlapped or not, their values are the same.

        Args:
            samples: prompts with seeds, any number.
            conditioning: a row for each.
            batch_size: pairs computed at once.
        """
        starts = range(0, len(samples), batch_size)
        parts = [(samples[start : start + batch_size], conditioning[start : start + batch_size]) for start in starts]
        if self.overlaps and len(parts) > 1:
            yield from self._overlapped(parts)
        else:
            for part in parts:
                yield from self.make(*part)

    def make(self, samples: Sequence[Sample], conditioning: Conditioning) -> list[Candidates]:
        """Compute a batch, in halves where the device ran out of memory.

        Args:
            samples: B prompts with seeds.
            conditioning: their B rows.
        """
        if self.batch_limit is None or len(samples) <= self.batch_limit:
            try:
                return [self._score(self._denoise(samples, conditioning))]
            except torch.OutOfMemoryError as error:
                if len(samples) == 1:
                    raise UserError(
                        "out of memory with a single pair; smaller pictures or backbone.dtype=float16 help"
                    ) from error
            self.batch_limit = len(samples) // 2
            torch.cuda.empty_cache()
        half = len(samples) // 2
        self.smallest_batch = min(self.smallest_batch or half, half)
        return [
            *self.make(samples[:half], conditioning[:half]),
            *self.make(samples[half:], conditioning[half:]),
        ]

    def _overlapped(self, parts: Sequence[tuple[Sequence[Sample], Conditioning]]) -> Iterator[Candidates]:
        """Score each batch in a second thread while the next one is denoised in this one.

        A thread, not a second stream alone: metrics wait for their results, and the waiting must not hold up the
        denoiser. Each thread has cuBLAS handles of its own, so that the sums are those of the serial form. A batch that
        did not fit beside another one is computed again by itself, and so are all that follow.
        """
        waiting: tuple[tuple[Sequence[Sample], Conditioning], Future[Candidates]] | None = None
        with ThreadPoolExecutor(1, "scoring") as scoring:
            for part in parts:
                denoised = self._denoise_beside(*part) if self.overlaps else None
                if waiting is not None:
                    yield from self._result(*waiting)
                waiting = None
                if denoised is None:
                    yield from self.make(*part)
                else:
                    waiting = part, scoring.submit(self._score, denoised, self._second_stream())
            if waiting is not None:
                yield from self._result(*waiting)

    def _denoise_beside(self, samples: Sequence[Sample], conditioning: Conditioning) -> Denoised | None:
        try:
            return self._denoise(samples, conditioning)
        except torch.OutOfMemoryError:
            self.overlaps = False
            return None

    def _result(self, part: tuple[Sequence[Sample], Conditioning], scored: Future[Candidates]) -> list[Candidates]:
        try:
            return [scored.result()]
        except torch.OutOfMemoryError:
            self.overlaps = False
        return self.make(*part)

    def _second_stream(self) -> torch.cuda.Stream | None:
        if self._stream is None and self.backbone.device.type == "cuda":
            self._stream = torch.cuda.Stream(self.backbone.device)
        return self._stream

    @torch.no_grad()
    def _denoise(self, samples: Sequence[Sample], conditioning: Conditioning) -> Denoised:
        backbone = self.backbone
        seeds = [sample.seed for sample in samples]
        source = seeding.source_noises(seeds, backbone.latent_shape()).to(backbone.device)
        # a method that needs gradients enables them itself
        result = self.method(source, conditioning, backbone, seeding.streams(seeds, "noise method", self.label))
        golden = result.noise.to(source)
        latents = backbone.sample(
            torch.cat([source, golden]),
            Conditioning.cat([conditioning, conditioning]),
            self.num_inference_steps,
            self.guidance_scale,
            first_branches=self._needed(result.first_branches),
        )
        ready = torch.cuda.current_stream(latents.device).record_event() if latents.is_cuda else None
        return Denoised(samples, conditioning, source, golden, latents, ready)

    @torch.no_grad()  # of this thread: the mode is not inherited
    def _score(self, denoised: Denoised, stream: torch.cuda.Stream | None = None) -> Candidates:
        """Decode and score; with ``stream``, on it. All is on the CPU, so done, when this returns."""
        samples, conditioning, source, golden, latents, ready = denoised
        with torch.cuda.stream(stream) if stream is not None else contextlib.nullcontext():
            if stream is not None and ready is not None:
                stream.wait_event(ready)
            images = self.backbone.decode(latents).float()
            finite = _finite(torch.cat([source, golden.half()])) & _finite(images)
            prompts = [sample.prompt for sample in samples]
            scores = self._scores(images.nan_to_num(0.0, 0.0, 0.0), finite, prompts)
            source_images, golden_images = images.cpu().chunk(2)
            return Candidates(samples, source.cpu(), golden.cpu(), (source_images, golden_images), scores, conditioning)

    def _needed(self, branches: Branches | None) -> Branches | None:
        # sampling without guidance needs no unconditional half, also of the golden side, which follows the source's
        if branches is not None and self.guidance_scale == 1:
            return replace(branches, unconditional=None)
        return branches

    def _scores(self, images: Tensor, finite: Tensor, prompts: list[str]) -> list[dict[str, tuple[float, float]]]:
        rows: list[dict[str, tuple[float, float]]] = [{} for _ in prompts]
        for label, metric in self.metrics.items():
            values = metric.score(images, prompts * 2).float().masked_fill(~finite, math.nan)
            for row, source, golden in zip(rows, *values.cpu().chunk(2), strict=True):
                row[label] = (float(source), float(golden))
        return rows


def _finite(batch: Tensor) -> Tensor:
    return torch.isfinite(batch).flatten(1).all(1)
