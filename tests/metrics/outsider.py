"""A metric from outside the project: description and scorer in one file, with torch at its top."""

from dataclasses import dataclass

from npnet.fields import NotNegative
from npnet.metrics import Metric
from npnet.metrics.runtime.base import Scorer


class RedScorer(Scorer):
    def _score(self, images, prompts):
        red = images[:, 0].flatten(1).mean(1)
        return self.metric.weight * red + red.new_tensor([len(prompt) for prompt in prompts]) / 100


@dataclass(frozen=True)
class Red(Metric):
    """How red the picture is, and how long its prompt."""

    runtime = RedScorer
    differentiable = True
    weight: NotNegative = 1.0
