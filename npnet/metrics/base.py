"""The contract of metrics: a description says which score is wanted, its scorer gives it; nothing here needs torch.

The scorer's half is ``npnet.metrics.runtime.base``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from npnet.description import load_each
from npnet.metrics.traits import MetricTraits

if TYPE_CHECKING:
    import torch

    from npnet.metrics.runtime.base import Scorer


@dataclass(frozen=True)
class Metric(MetricTraits):
    """One preference metric; a member is a description here, a scorer in ``runtime/`` and a YAML in ``conf/metric/``.

    Scores are on the published scale and higher is better; papers often print ``display_scale`` times them. A metric of
    one's own may put description and scorer into one file, with ``runtime`` the scorer's class itself.
    """

    def load(self, device: torch.device | str = "cpu") -> Scorer:
        """Load the weights onto ``device`` and return what scores with them; a call more loads once more.

        Raises:
            UserError: files are missing or damaged, or do not fit.
        """
        return self.runtime_class()(self, device)


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
