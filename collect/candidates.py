"""One batch: source noise -> golden candidate by any noise method -> both pictures -> scores.

No evaluation of the denoiser is made twice: what the noise method learnt of the source noise at the first step starts
the sampling from it too, and both sides are denoised in one batch. At N steps with guidance, re-denoise sampling
costs 4 N + 1 forwards for each pair: 2 branches x N steps x 2 sides, and 1 for the step back.

Everything is float32 until it is stored: the golden picture is made from the float32 golden noise, and the noises are
rounded to float16 only in the shard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones import Backbone
from npnet.data.prompts import Sample
from npnet.errors import UserError
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
        self.backbone, self.label, self.method, self.metrics = backbone, label, method, dict(metrics)
        self.num_inference_steps, self.guidance_scale = num_inference_steps, guidance_scale
        self.batch_limit: int | None = None
        """Pairs that the device can hold at once, once it ran out of memory."""
        self.smallest_batch: int | None = None
        """Pairs that were computed at once in this chunk where the batch had to be split; None where it had not."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: str | None = None) -> CandidateMaker:
        """Build every node of a resolved configuration and check that they fit together; loads nothing.

        Args:
            config: what ``make_plan`` checked.
            device: replaces ``backbone.device=auto``.

        Raises:
            UserError: a node cannot be built, or two of them do not go together.
        """
        node = dict(config["backbone"])
        if device is not None and node.get("device") == "auto":
            node["device"] = device
        backbone = build(node, "backbone")
        ((label, method),) = build_all(config["noise"], "noise").items()
        metrics = build_all(config["metric"], "metric")
        check_parts(backbone, {label: method}, metrics)
        return cls(backbone, label, method, metrics, config["num_inference_steps"], float(config["guidance_scale"]))

    def load(self) -> CandidateMaker:
        """Load the weights of every part."""
        self.backbone.load()
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

    def make(self, samples: Sequence[Sample], conditioning: Conditioning) -> list[Candidates]:
        """Compute a batch, in halves where the device ran out of memory.

        Args:
            samples: B prompts with seeds.
            conditioning: their B rows.
        """
        if self.batch_limit is None or len(samples) <= self.batch_limit:
            try:
                return [self._make(samples, conditioning)]
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

    @torch.no_grad()
    def _make(self, samples: Sequence[Sample], conditioning: Conditioning) -> Candidates:
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
        images = backbone.decode(latents).float()
        finite = _finite(torch.cat([source, golden.half()])) & _finite(images)
        scores = self._score(images.nan_to_num(0.0, 0.0, 0.0), finite, [sample.prompt for sample in samples])
        source_images, golden_images = images.cpu().chunk(2)
        return Candidates(samples, source.cpu(), golden.cpu(), (source_images, golden_images), scores, conditioning)

    def _needed(self, branches: Branches | None) -> Branches | None:
        # sampling without guidance needs no unconditional half, also of the golden side, which follows the source's
        if branches is not None and self.guidance_scale == 1:
            return replace(branches, unconditional=None)
        return branches

    def _score(self, images: Tensor, finite: Tensor, prompts: list[str]) -> list[dict[str, tuple[float, float]]]:
        rows: list[dict[str, tuple[float, float]]] = [{} for _ in prompts]
        for label, metric in self.metrics.items():
            values = metric.score(images, prompts * 2).float().masked_fill(~finite, math.nan)
            for row, source, golden in zip(rows, *values.cpu().chunk(2), strict=True):
                row[label] = (float(source), float(golden))
        return rows


def _finite(batch: Tensor) -> Tensor:
    return torch.isfinite(batch).flatten(1).all(1)
