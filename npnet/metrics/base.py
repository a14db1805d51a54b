"""The contract of metrics: a description names a score, and its scorer computes it. Nothing here needs torch.

The contract of scorers is ``npnet.metrics.runtime.base``.
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
    """The description of a metric. A new one is a file here, a scorer in ``runtime/`` and a YAML in ``conf/metric/``.

    Scores are on the published scale, and higher is better. Papers often print them times ``display_scale``. A metric
    of your own may have description and scorer in one file; ``runtime`` is then the scorer's class itself.
    """

    def load(self, device: torch.device | str = "cpu") -> Scorer:
        """Load the weights onto ``device`` and return the scorer; every call loads them again.

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
    """Load each metric, by its label, in the same order.

    Raises:
        UserError: names the label, the key, and what is wrong.
    """
    return load_each("metric", metrics, device)
