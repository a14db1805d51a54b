"""The contract of scorers: pictures and prompts in, one score for each picture out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from npnet.metrics.traits import MetricTraits, notes
from npnet.records import require_images


class Meter:
    """What a scorer has done so far.

    Attributes:
        calls: number of pictures scored, from which the cost of a search is measured.
        truncated: prompts that were cut at the scorer's ``text_length``.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.truncated: set[str] = set()

    def clear(self) -> None:
        """Start anew."""
        self.calls = 0
        self.truncated.clear()


class Scorer(ABC):
    """A loaded metric: fixed weights, and a meter of its use.

    Attributes:
        metric: its description.
        device: the device that computes; pictures may be on another one.
        text_length: number of tokens that the text model reads, with its own marks; None where there is no limit.
        smoke: the weights are random, made for a test (the folder holds a file ``SMOKE``).
        meter: see ``Meter``.
    """

    def __init__(
        self,
        metric: MetricTraits,
        device: torch.device | str = "cpu",
        text_length: int | None = None,
        smoke: bool = False,
    ) -> None:
        self.metric = metric
        self.device = torch.device(device)
        self.text_length = text_length
        self.smoke = smoke
        self.meter = Meter()

    @abstractmethod
    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score pictures that were checked: ``(B, 3, H, W)`` -> ``(B,)`` float32."""

    def _score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        """Score RGB pictures with the authors' preprocessing; by default as tensors."""
        scores = [self._score(to_tensor(p)[None], [text]) for p, text in zip(pictures, prompts, strict=True)]
        return torch.cat(scores)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score pictures, or videos, against their prompts.

        Args:
            images: ``(B, 3, H, W)`` floating, in [0, 1], any size; or videos ``(B, F, 3, H, W)``, of which
                ``num_frames`` evenly spaced frames are scored and averaged.
            prompts: B texts.

        Returns:
            ``(B,)`` float32, higher is better, independent of the rest of the batch.

        Raises:
            ValueError: pictures have a wrong range or shape, or the number of prompts differs.
        """
        return self._averaged(images, prompts, self._score)

    def score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        """Score PIL pictures of any sizes with exactly the preprocessing of the checkpoint's authors; see ``score``.

        Not differentiable. Most authors resize 8-bit pictures with PIL, which rounds to 1/255 at every stage; ``score``
        resizes the same way in floating point without rounding. Each metric states how much the two differ.
        """
        require_as_many(len(pictures), prompts)
        self.meter.calls += len(pictures)
        with torch.no_grad():
            return self._score_pil([picture.convert("RGB") for picture in pictures], list(prompts))

    def compare(self, a: Tensor, b: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return ``(B,)``, the probability that picture ``b`` is preferred to ``a``; see ``Metric.preference``."""
        return self.preference(self.score(a, prompts), self.score(b, prompts))

    def preference(self, score_a: Tensor, score_b: Tensor) -> Tensor:
        """Return the probability that b is preferred, from the two scores; see ``Metric.preference``."""
        return self.metric.preference(score_a, score_b)

    def notes(self) -> list[str]:
        """Return notes for readers of the scores: random weights, texts that were cut, and remarks."""
        return notes(self.smoke, self.meter.truncated, self.text_length) + self.remarks()

    def remarks(self) -> list[str]:
        """Return remarks on what else decided the scores, such as the model that a server names; by default none.

        They are stored with the scores and shown in the results of an evaluation.
        """
        return []

    def _averaged(
        self, images: Tensor, prompts: Sequence[str], score: Callable[[Any, Sequence[str]], Tensor]
    ) -> Tensor:
        require_as_many(len(images), prompts)
        texts, frames = list(prompts), 1
        if images.ndim == 5:
            chosen = frame_indices(images.shape[1], self.metric.num_frames)
            frames = len(chosen)
            images = images[:, chosen].flatten(0, 1)
            texts = [text for text in texts for _ in range(frames)]
        require_images(images)
        self.meter.calls += len(images)
        return score(images, texts).float().unflatten(0, (-1, frames)).mean(1)


def frame_indices(total: int, wanted: int) -> list[int]:
    """Return the frames to score of ``total``: all, or ``wanted`` evenly spaced ones from the first to the last.

    Raises:
        ValueError: the video has no frame.
    """
    if total < 1:
        raise ValueError("a video of no frames cannot be scored")
    if total <= wanted or wanted == 1:
        return list(range(total)) if total <= wanted else [total // 2]
    return [round(i * (total - 1) / (wanted - 1)) for i in range(wanted)]


def require_as_many(count: int, prompts: Sequence[str]) -> None:
    """Check that there is one prompt for each picture.

    Raises:
        ValueError: there is not.
    """
    if isinstance(prompts, str) or len(prompts) != count:
        raise ValueError(f"got {count} images and {'one text' if isinstance(prompts, str) else len(prompts)} prompts")


def to_tensor(picture: Image) -> Tensor:
    """Turn an RGB picture into ``(3, H, W)`` float32 in [0, 1]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
