"""The last stages of a batch: decode, score, and copy the kept pictures from the device."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from npnet.data.prompts import Sample
from npnet.engine import measure
from npnet.engine.batches import Denoised, Kept, Scored, Spent
from npnet.memory import SMALLER, Limit
from npnet.metrics.diversity import to_texts
from npnet.metrics.runtime.space import LoadedSpace
from npnet.noise.runtime import whiteness
from npnet.records import Cost


class Scoring:
    """Decodes and scores in slices that fit the device.

    Args:
        backbone: loaded.
        scorers: loaded metrics by label.
        kept: which pictures are copied from the device; None means none.
        spaces: loaded spaces of features by label.
    """

    def __init__(
        self,
        backbone: Any,
        scorers: Mapping[str, Any],
        kept: Kept | None = None,
        spaces: Mapping[str, LoadedSpace] | None = None,
    ) -> None:
        self.backbone, self.scorers, self.kept, self.spaces = backbone, dict(scorers), kept, dict(spaces or {})
        self.decoding = Limit("picture to decode", SMALLER)
        self.limits = {
            name: Limit("picture to score", f"leave {name} out of metric=[...], or score with it in a run of its own")
            for name in self.scorers
        }
        """Of the scorers, by label."""
        self.space_limits = {
            name: Limit("picture to read", f"leave the space {name} out of diversity=[...]") for name in self.spaces
        }

    @torch.no_grad()  # of this thread: the mode is not inherited
    def finish(self, denoised: Denoised, stream: torch.cuda.Stream | None = None, learns: bool = True) -> Scored:
        """Decode and score in slices that fit, on ``stream`` if one is given. All results are on the CPU afterwards.

        Args:
            denoised: a batch.
            stream: of a GPU, if this runs in another thread than the denoising.
            learns: see ``Limit.pieces``.
        """
        batch, both = denoised.batch, denoised.task.both
        prompts = [sample.prompt for sample in batch.samples] * (2 if both else 1)
        asked = denoised.task.metrics
        scores: dict[str, list[float]] = {name: [] for name in self.scorers if asked is None or name in asked}
        wanted = denoised.task.spaces
        features: dict[str, list[str]] = {name: [] for name in self.spaces if wanted is None or name in wanted}
        pictures: list[Tensor | None] = []
        spent, has_peak = denoised.spent, denoised.has_peak
        with torch.cuda.stream(stream) if stream is not None else contextlib.nullcontext():
            if stream is not None and denoised.ready is not None:
                stream.wait_event(denoised.ready)
            # half precision is what a pair is stored in
            fine = _finite(torch.cat([batch.noise, denoised.noise.half()]) if both else denoised.noise)
            decode = self._decoder(denoised)
            measures = whiteness.MEASURES if denoised.task.measures else {}
            noise = {name: measure(denoised.noise).cpu().tolist() for name, measure in measures.items()}
            for rows, images, seconds in self.decoding.pieces(len(prompts), decode, learns=learns):
                # later slices of the same size would include the scoring of earlier ones
                peak = measure.peak_bytes(self.backbone.device) if has_peak else None
                spent, has_peak = spent + Spent(Cost(), seconds, peak), False
                finite = (fine[rows] & _finite(images)).nonzero().flatten().tolist()
                for name, found in scores.items():
                    found += self._scores(name, images, finite, prompts[rows], learns)
                for name, texts in features.items():
                    texts += self._features(name, images, finite, prompts[rows], learns)
                pictures += self._kept(images, [batch.samples[i % len(batch)] for i in range(rows.start, rows.stop)])
        return Scored(denoised, scores, pictures, spent, features, noise)

    def _decoder(self, denoised: Denoised) -> Callable[[slice], tuple[slice, Tensor, float]]:
        def decode(rows: slice) -> tuple[slice, Tensor, float]:
            started = time.perf_counter()
            images = self.backbone.decode(denoised.latents[rows]).float()
            measured = denoised.task.measures
            return rows, images, measure.seconds_once_done(self.backbone.device, started) if measured else 0.0

        return decode

    def _scores(
        self, name: str, images: Tensor, finite: Sequence[int], prompts: Sequence[str], learns: bool
    ) -> list[float]:
        """Score a slice. A picture that is not finite gets NaN; the others keep their scores."""
        scores = [math.nan] * len(images)
        chosen = images if len(finite) == len(images) else images[list(finite)]
        texts = [prompts[row] for row in finite]
        if texts:
            pieces = self.limits[name].pieces(
                len(texts),
                lambda rows: self.scorers[name].score(chosen[rows], texts[rows]).double().cpu().tolist(),
                learns=learns,
            )
            for row, score in zip(finite, (score for piece in pieces for score in piece), strict=True):
                scores[row] = score
        return scores

    def _features(
        self, name: str, images: Tensor, finite: Sequence[int], prompts: Sequence[str], learns: bool
    ) -> list[str]:
        """Compute the features of a slice; a picture that is not finite has none."""
        found = [""] * len(images)
        space, prompts = self.spaces[name], [prompts[row] for row in finite]
        chosen = middle_frames(images[list(finite)])
        if prompts:
            pieces = self.space_limits[name].pieces(
                len(prompts), lambda rows: to_texts(space.features(chosen[rows], prompts[rows])), learns=learns
            )
            for row, text in zip(finite, (text for piece in pieces for text in piece), strict=True):
                found[row] = text
        return found

    def _kept(self, images: Tensor, samples: Sequence[Sample]) -> list[Tensor | None]:
        pictures: list[Tensor | None] = [None] * len(samples)
        if self.kept is not None:
            wanted = [row for row, sample in enumerate(samples) if self.kept.wants(sample)]
            if wanted:
                chosen = self.kept.form(images if len(wanted) == len(images) else images[wanted])
                for row, picture in zip(wanted, chosen, strict=True):
                    pictures[row] = picture
        return pictures


def middle_frames(images: Tensor) -> Tensor:
    """Return the middle frame of videos ``(B, F, 3, H, W)``, which is kept."""
    return images[:, images.shape[1] // 2] if images.ndim == 5 else images


def _finite(batch: Tensor) -> Tensor:
    return torch.isfinite(batch).flatten(1).all(1)
