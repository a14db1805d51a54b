"""The properties of a metric that need no weights: what it reads, its scale, and its rule for a pair."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

from npnet.description import Description


@dataclass(frozen=True)
class MetricTraits(Description):
    """The properties of a metric that need no weights; a scorer uses nothing else of its description."""

    differentiable: ClassVar[bool] = False
    """Gradients flow from the score to the pictures."""
    uses_prompt: ClassVar[bool] = True
    display_scale: ClassVar[float] = 1.0
    """What papers multiply the score with when they print it; never part of the score."""
    pairwise: ClassVar[bool] = False
    """Papers print the mean of ``compare`` against a baseline instead of the score (MPS)."""
    domain: ClassVar[str] = "any"
    """The backbones whose pictures it judges: ``any``, or the ``domain`` that a backbone states."""
    num_frames: ClassVar[int] = 8
    """Of a video this many frames, evenly spaced, are scored and averaged."""
    text_length: ClassVar[int | None] = None
    """Tokens that the published text model reads, its own marks included; what is longer is cut, as published."""

    picture_size: ClassVar[tuple[int, int] | None] = None
    """(width, height) of the only pictures that it reads; None where it reads any."""
    example_prompts: ClassVar[tuple[str, str, str]] = ("a red cube", "two dogs on a boat", "")
    """Prompts that it can read, for the laws."""

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt with words that the metric does not know.

        Raises:
            ValueError: says what it expects.
        """

    def preference(self, score_a: Any, score_b: Any) -> Any:
        """Return the probability that b is preferred, from the two scores: 1, 0.5 or 0 by their order.

        Metrics with a published rule of their own (PickScore, MPS: softmax over the pair) use that rule instead.

        Args:
            score_a: ``(N,)``, an array or a tensor.
            score_b: the same.

        Returns:
            ``(N,)``, an array or a tensor like the scores.
        """
        return preference_by_order(score_b, score_a)


def preference_by_order(a: Any, b: Any) -> Any:
    """Return 1 where ``a`` > ``b``, 0.5 where equal, 0 where less; arrays or tensors."""
    return ((a > b) * 1.0 + (a >= b) * 1.0) / 2


def notes(smoke: bool, truncated: Collection[str], text_length: int | None) -> list[str]:
    """Return notes for readers of the scores: random weights, and prompts that were cut.

    Args:
        smoke: the weights are random.
        truncated: prompts that were cut.
        text_length: tokens where they were cut.
    """
    found = ["smoke: the weights are random, made for a test; these scores mean nothing"] if smoke else []
    if truncated:
        count = len(truncated)
        found.append(
            f"{count} {'prompt was' if count == 1 else 'prompts were'} longer than {text_length} tokens "
            "and cut there, as the published code does"
        )
    return found
