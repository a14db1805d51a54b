"""The contract of metrics: a description says which score is wanted, its scorer gives it; nothing here needs torch.

The scorer's half is ``npnet.metrics.runtime.base``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from npnet.description import Description, load_each

if TYPE_CHECKING:
    import torch

    from npnet.metrics.runtime.base import Scorer


@dataclass(frozen=True)
class Metric(Description):
    """One preference metric; a member is a description here, a scorer in ``runtime/`` and a YAML in ``conf/metric/``.

    Scores are on the published scale and higher is better; papers often print ``display_scale`` times them. A metric of
    one's own may put description and scorer into one file, with ``runtime`` the scorer's class itself.
    """

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
        """Refuse a prompt that the metric has no words for.

        Raises:
            ValueError: says what it expects.
        """

    def load(self, device: torch.device | str = "cpu") -> Scorer:
        """Load the weights onto ``device`` and return what scores with them; a call more loads once more.

        Raises:
            UserError: files are missing or damaged, or do not fit.
        """
        return self.runtime_class()(self, device)

    def preference(self, score_a: Any, score_b: Any) -> Any:
        """Return the probability that b is preferred, from the two scores: 1, 0.5 or 0 by their order.

        Metrics that publish a rule of their own (PickScore, MPS: softmax over the pair) use that instead.

        Args:
            score_a: ``(N,)``, an array or a tensor.
            score_b: the same.

        Returns:
            ``(N,)``, of the kind that was given.
        """
        return preference_by_order(score_b, score_a)


class SoftmaxPreference(Metric):
    """A metric whose published rule for a pair is the softmax over the two scores."""

    def preference(self, score_a: Any, score_b: Any) -> Any:
        """See ``Metric.preference``: exp(b) / (exp(a) + exp(b))."""
        return 1 / (1 + math.e ** (score_a - score_b))


def load_metrics(metrics: Mapping[str, Metric], device: torch.device | str) -> dict[str, Scorer]:
    """Load each metric, by its label; the labels stay in their order.

    Raises:
        UserError: names the label, and what is wrong with which of its keys.
    """
    return load_each("metric", metrics, device)


def preference_by_order(a: Any, b: Any) -> Any:
    """Return 1 where ``a`` > ``b``, 0.5 where equal, 0 where less; arrays or tensors."""
    return ((a > b) * 1.0 + (a >= b) * 1.0) / 2


def notes(smoke: bool, truncated: Collection[str], text_length: int | None) -> list[str]:
    """Return what a reader of scores should know: random weights, and prompts that were cut.

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
