"""The first stages of a batch: encode the prompts, draw the noise, improve it by a method, sample.

No evaluation of the denoiser is repeated. The sampling from the source noise reuses a method's evaluation of that noise
at the first step. A search's winner that is already sampled is not sampled again. Both sides of a pair are denoised in
one batch. If a stage does not fit into memory, only this stage is computed again in halves: see ``npnet.memory``.

Everything is float32 until it is stored.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.text import with_negative
from npnet.data.prompts import Sample
from npnet.engine import measure
from npnet.engine.batches import Batch, Denoised, Sampling, Spent, Streams, Task
from npnet.memory import SMALLER, Limit
from npnet.records import Branches, Conditioning, Cost, NoiseResult


class Denoising:
    """Makes latents, in as few pieces as fit the device.

    Args:
        backbone: loaded.
        sampling: how noise becomes a picture.
        streams: see ``Streams``.
        searches_with: the loaded metrics that a method with scorers may call; their calls are its cost.
        unit: the name of a sample in the error when a single one does not fit: pair, or picture.
    """

    def __init__(
        self,
        backbone: Any,
        sampling: Sampling,
        streams: Streams,
        searches_with: Sequence[Any] = (),
        unit: str = "picture",
    ) -> None:
        self.backbone, self.sampling, self.streams, self.searches_with = backbone, sampling, streams, searches_with
        self.encoding = Limit("prompt to encode", "backbone.dtype=float16 helps")
        self.improving: dict[str, Limit] = defaultdict(lambda: Limit(unit, SMALLER))
        """Of the noise methods, by label: each holds another amount."""
        self.starting, self.sampling_limit = Limit(unit, SMALLER), Limit(unit, SMALLER)

    @property
    def smallest_batch(self) -> int | None:
        """The number of samples denoised at once since ``start``, if a batch had to be divided; otherwise None."""
        return min((limit.smallest for limit in self._denoisers() if limit.smallest is not None), default=None)

    def start(self) -> None:
        """Forget the notes on earlier batches; the limits stay."""
        for limit in (self.encoding, *self._denoisers()):
            limit.start()

    def _denoisers(self) -> list[Limit]:
        return [*self.improving.values(), self.starting, self.sampling_limit]

    def encode(self, samples: Sequence[Sample]) -> Conditioning:
        """Encode the prompts, each distinct one once; one row for each sample."""
        prompts = [sample.prompt for sample in samples]
        with torch.no_grad():
            parts = list(self.encoding.pieces(len(prompts), lambda rows: self.backbone.encode(prompts[rows])))
            conditioning = parts[0] if len(parts) == 1 else Conditioning.cat(parts)
            if self.sampling.negative_prompt is None:
                return conditioning
            return with_negative(conditioning, self.backbone.encode([self.sampling.negative_prompt]))

    def draw(self, samples: Sequence[Sample], conditioning: Conditioning) -> Batch:
        """Return a batch with the source noise of its seeds, on the device."""
        noise = seeding.source_noises([sample.seed for sample in samples], self.backbone.latent_shape())
        return Batch(samples, conditioning, noise.to(self.backbone.device))

    def denoise(self, task: Task, make_room: Callable[[], bool] | None = None) -> Iterator[Denoised]:
        """Improve the noise and sample from it, in as few pieces as fit.

        Args:
            task: what is to be done.
            make_room: see ``Limit.pieces``.
        """
        limit = self.improving[task.label]
        for part, result, spent, has_peak in limit.pieces(
            len(task.batch), lambda rows: self._improve(task, task.batch[rows]), make_room
        ):
            first = self._first(part, result, make_room) if task.both else None
            # what the method cost goes with its first piece
            sample = partial(self._sample, task, part, result, first, spent, has_peak)
            yield from self.sampling_limit.pieces(len(part), sample, make_room)

    @torch.no_grad()  # a method that needs gradients enables them itself
    def _improve(self, task: Task, batch: Batch) -> tuple[Batch, NoiseResult, Spent, bool]:
        has_peak = task.measures and task.alone and measure.start_peak(self.backbone.device)
        searches = self.searches_with if task.method.scorers else ()  # other scorers may work at the same time
        started, before, calls = time.perf_counter(), self.backbone.cost, measure.scorer_calls(searches)
        result = task.method(
            batch.noise, batch.conditioning, self.backbone, self.streams(batch.samples, "noise method")
        )
        cost = self.backbone.cost - before + Cost(scorer_calls=measure.scorer_calls(searches) - calls)
        return batch, result, self._spent(task, cost, started), has_peak

    @torch.no_grad()
    def _first(self, batch: Batch, result: NoiseResult, make_room: Callable[[], bool] | None) -> Branches | None:
        """Complete the first evaluation of both sides, if the method evaluated the source noise.

        It is a smaller batch than the later steps, and would be lost where one of these did not fit.
        """
        first, sampling, backbone = result.first_branches, self.sampling, self.backbone
        if first is None or sampling.sampler != "default":
            return None
        if first.timestep != backbone.steps(sampling.num_inference_steps)[0].from_timestep:
            return None
        guided = sampling.guidance_scale != 1 and first.unconditional is not None
        if not guided:  # sampling without guidance needs no unconditional half
            first = replace(first, unconditional=None)
        noise = result.noise.to(batch.noise)
        timestep = first.timestep
        conditioning = backbone.with_guidance(batch.conditioning, sampling.guidance_scale)
        golden = self.starting.pieces(
            len(batch),
            lambda rows: backbone.predict_branches(noise[rows], timestep, conditioning[rows], unconditional=guided),
            make_room,
        )
        for branches in golden:
            first = first.cat(branches)
        return first

    @torch.no_grad()
    def _sample(
        self,
        task: Task,
        whole: Batch,
        result: NoiseResult,
        first: Branches | None,
        spent: Spent,
        has_peak: bool,
        rows: slice,
    ) -> Denoised:
        sampling, batch = self.sampling, whole[rows]
        started, before = time.perf_counter(), self.backbone.cost
        noise, conditioning = result.noise[rows].to(batch.noise), batch.conditioning
        if task.both:
            conditioning = Conditioning.cat([conditioning, conditioning])
        options: dict[str, Any] = {}
        known = self._known(task, result)
        if sampling.sampler != "default":
            generators = self.streams(batch.samples, "sampler")
            options = {"sampler": sampling.sampler, "generators": generators * (2 if task.both else 1)}
        if known is not None:
            latents = known[rows]
        else:
            latents = self.backbone.sample(
                torch.cat([batch.noise, noise]) if task.both else noise,
                conditioning,
                sampling.num_inference_steps,
                sampling.guidance_scale,
                first_branches=_rows(first, rows, len(whole)),
                **options,
            )
        own = self._spent(task, self.backbone.cost - before, started) + (spent if rows.start == 0 else Spent())
        ready = torch.cuda.current_stream(latents.device).record_event() if latents.is_cuda else None
        return Denoised(task, batch, result, noise, latents, own, ready, has_peak)

    def _known(self, task: Task, result: NoiseResult) -> Tensor | None:
        """Return the finished sample of the result, if the method made it; not for a pair, whose batch differs."""
        sampling, finished = self.sampling, result.finished
        if finished is None or task.both or sampling.sampler != "default":
            return None
        same = finished.serves(sampling.num_inference_steps, sampling.guidance_scale)
        return finished.latents if same else None

    def _spent(self, task: Task, cost: Cost, started: float) -> Spent:
        seconds = measure.seconds_once_done(self.backbone.device, started) if task.measures else 0.0
        return Spent(cost, seconds)


def _rows(branches: Branches | None, rows: slice, count: int) -> Branches | None:
    """Return those of ``count`` samples, of both their sides."""
    if branches is None:
        return None
    both = [*range(rows.start, rows.stop), *range(count + rows.start, count + rows.stop)]
    unconditional = None if branches.unconditional is None else branches.unconditional[both]
    return Branches(branches.timestep, branches.conditional[both], unconditional)
