"""Pairs: source noise, the golden noise that a method makes from it, both pictures, and their scores.

At N steps with guidance, re-denoise sampling costs 4 N + 1 forwards for each pair: 2 branches x N steps x 2 sides, and
1 for the step back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.data.prompts import Sample
from npnet.engine import measure
from npnet.engine.batches import Kept, Sampling, Scored, Task
from npnet.engine.denoising import Denoising
from npnet.engine.pipeline import Pipeline
from npnet.engine.scoring import Scoring
from npnet.records import Conditioning, Cost


@dataclass(frozen=True)
class ScoredPairs:
    """A batch of tried pairs, on the CPU.

    Attributes:
        samples: B prompts with their seeds.
        source_noise: ``(B, C, *grid)`` float32.
        golden_noise: ``(B, C, *grid)`` float32.
        images: source and golden pictures, each ``(B, 3, H, W)`` in the form of ``Kept``: uint8; None: none were kept.
        scores: for each sample, metric label -> (source, golden); NaN where the noise or a picture is not finite.
        conditioning: of the B prompts.
    """

    samples: Sequence[Sample]
    source_noise: Tensor
    golden_noise: Tensor
    images: tuple[Tensor, Tensor] | None
    scores: list[dict[str, tuple[float, float]]]
    conditioning: Conditioning


class PairMaker:
    """Turns samples into scored pairs.

    Args:
        backbone: loaded.
        label: of the noise method; names its random streams.
        method: loaded; makes the golden noise.
        scorers: loaded metrics by label.
        sampling: how noise becomes a picture.
        kept: which pictures are passed on; None means none.
    """

    def __init__(
        self,
        backbone: Any,
        label: str,
        method: Any,
        scorers: Mapping[str, Any],
        sampling: Sampling,
        kept: Kept | None = None,
    ) -> None:
        self.backbone, self.label, self.method, self.scorers = backbone, label, method, dict(scorers)
        self.denoising = Denoising(backbone, sampling, self._streams, unit="pair")
        self.scoring = Scoring(backbone, scorers, kept)
        self.pipeline = Pipeline(self.denoising, self.scoring, backbone.device.type == "cuda" and not method.scorers)

    @property
    def smallest_batch(self) -> int | None:
        """The number of pairs denoised at once in this chunk, if a batch had to be divided; otherwise None."""
        return self.denoising.smallest_batch

    @property
    def spent(self) -> Cost:
        """The cost so far, with scorer calls."""
        return self.backbone.cost + Cost(scorer_calls=measure.scorer_calls(self.scorers.values()))

    def start_chunk(self) -> None:
        """Forget the notes on the last chunk, so that a chunk's notes do not depend on its worker."""
        self.denoising.start()
        for scorer in self.scorers.values():
            scorer.meter.truncated.clear()

    def encode(self, samples: Sequence[Sample]) -> Conditioning:
        """Encode the prompts of a chunk, each distinct one once; one row for each sample."""
        return self.denoising.encode(samples)

    def batches(
        self, samples: Sequence[Sample], conditioning: Conditioning, batch_size: int | None = None
    ) -> Iterator[ScoredPairs]:
        """Compute the pairs of a chunk, in order; a batch that does not fit into memory is divided.

        Args:
            samples: prompts with seeds, any number.
            conditioning: a row for each.
            batch_size: pairs computed at once; None means all.
        """
        size = batch_size or len(samples)
        parts = (slice(start, start + size) for start in range(0, len(samples), size))
        tasks = (
            Task(self.label, self.method, self.denoising.draw(samples[part], conditioning[part]), both=True)
            for part in parts
        )
        for scored in self.pipeline.run(tasks):
            yield _pairs(scored)

    def _streams(self, samples: Sequence[Sample], purpose: str) -> list[torch.Generator]:
        return seeding.streams([sample.seed for sample in samples], purpose, self.label)


def _pairs(scored: Scored) -> ScoredPairs:
    batch = scored.denoised.batch
    count = len(batch)
    rows: list[dict[str, tuple[float, float]]] = [
        {name: (values[row], values[count + row]) for name, values in scored.scores.items()} for row in range(count)
    ]
    pictures = [picture for picture in scored.pictures if picture is not None]
    images = None
    if len(pictures) == 2 * count:
        images = torch.stack(pictures[:count]), torch.stack(pictures[count:])
    return ScoredPairs(batch.samples, batch.noise.cpu(), scored.denoised.noise.cpu(), images, rows, batch.conditioning)
