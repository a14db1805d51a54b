"""The contract of metrics: pictures and prompts in, one score for each picture out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from npnet.records import require_images

if TYPE_CHECKING:
    from PIL.Image import Image


class Metric(ABC):
    """One preference metric; a member is one file here and one YAML in ``conf/metric/``.

    ``score`` is on the published scale and higher is better; papers often print ``display_scale`` times it. What ran
    unlike a reader would expect (a text cut at the model's length, weights that are random) is in ``notes()``.
    """

    differentiable: bool = False
    """Gradients flow from ``score`` to the pictures."""
    uses_prompt: bool = True
    display_scale: float = 1.0
    """What papers multiply the score with when they print it; never part of the score."""
    pairwise: bool = False
    """Papers print the mean of ``compare`` against a baseline instead of the score (MPS)."""
    domain: str = "any"
    """``shapes``: judges pictures of the built-in model only."""
    num_frames: int = 8
    """Of a video this many frames, evenly spaced, are scored and averaged."""
    text_length: int | None = None
    """Tokens that the text model reads, its own marks included; what is longer is cut, as published."""

    def __init__(self) -> None:
        self.calls = 0
        """Pictures scored so far: the cost of a search is measured, not declared."""
        self.truncated: set[str] = set()
        """Prompts that were cut at ``text_length``."""
        self.smoke = False
        """The weights are random, made for a test (the folder holds a file ``SMOKE``)."""

    def check(self) -> None:
        """Refuse, in one line and before any model is loaded, paths and values that cannot work."""

    @abstractmethod
    def load(self, device: torch.device | str = "cpu") -> Self:
        """Load the weights; called once."""

    @abstractmethod
    def _score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Score checked pictures: ``(B, 3, H, W)`` -> ``(B,)`` float32."""

    def _score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        """Score RGB pictures as their authors would; by default as the tensors they hold."""
        from npnet.metrics.pixels import to_tensor

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
            ValueError: pictures out of range or shape, or another number of prompts.
        """
        return self._averaged(images, prompts, self._score)

    def score_pil(self, pictures: Sequence[Image], prompts: Sequence[str]) -> Tensor:
        """Score PIL pictures of any sizes with the very preprocessing of the checkpoint's authors; see ``score``.

        Not differentiable. Most authors resize 8-bit pictures with PIL, which rounds to 1/255 at every stage; ``score``
        resizes the same way in floating point without rounding. Members say how far the two lie apart.
        """
        require_as_many(len(pictures), prompts)
        self.calls += len(pictures)
        with torch.no_grad():
            return self._score_pil([picture.convert("RGB") for picture in pictures], list(prompts))

    def compare(self, a: Tensor, b: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return ``(B,)``, the probability that picture ``b`` is preferred to ``a``: 1, 0.5 or 0 by the scores.

        Metrics that publish a rule of their own (PickScore, MPS: softmax over the pair) use that instead.
        """
        return self.preference(self.score(a, prompts), self.score(b, prompts))

    def preference(self, score_a: Tensor, score_b: Tensor) -> Tensor:
        """Return the probability that b is preferred, from the two scores; see ``compare``."""
        return preference_by_order(score_b, score_a)

    def notes(self) -> list[str]:
        """Return what a reader of the scores should know."""
        notes = ["smoke: the weights are random, made for a test; these scores mean nothing"] if self.smoke else []
        if self.truncated:
            count = len(self.truncated)
            notes.append(
                f"{count} {'prompt was' if count == 1 else 'prompts were'} longer than {self.text_length} tokens "
                "and cut there, as the published code does"
            )
        return notes

    def _averaged(
        self, images: Tensor, prompts: Sequence[str], score: Callable[[Any, Sequence[str]], Tensor]
    ) -> Tensor:
        require_as_many(len(images), prompts)
        texts, frames = list(prompts), 1
        if images.ndim == 5:
            chosen = frame_indices(images.shape[1], self.num_frames)
            frames = len(chosen)
            images = images[:, chosen].flatten(0, 1)
            texts = [text for text in texts for _ in range(frames)]
        require_images(images)
        self.calls += len(images)
        return score(images, texts).float().unflatten(0, (-1, frames)).mean(1)


class SoftmaxPreference(Metric):
    """A metric whose published rule for a pair is the softmax over the two scores."""

    def preference(self, score_a: Tensor, score_b: Tensor) -> Tensor:
        """See ``Metric.preference``: exp(b) / (exp(a) + exp(b))."""
        return torch.sigmoid(score_b - score_a)


def preference_by_order(a: Tensor, b: Tensor) -> Tensor:
    """Return 1 where ``a`` > ``b``, 0.5 where equal, 0 where less; float32."""
    return ((a > b).float() + (a >= b).float()) / 2


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
