"""Metrics that record what they are asked to score; imported by one name, so that there is one record."""

from dataclasses import dataclass

import torch

from npnet.metrics import Metric
from npnet.metrics.runtime.base import Scorer

SCORED = []


class Red(Scorer):
    def __init__(self, metric, device="cpu"):
        super().__init__(metric, device, text_length=metric.text_length)

    def _score(self, images, prompts):
        SCORED.extend(prompts)
        self.meter.truncated |= {prompt for prompt in prompts if len(prompt) > 9}
        return (images[:, 0] - images[:, 2]).mean((1, 2)) + torch.tensor([float(len(p)) for p in prompts])

    def remarks(self):
        return ["measured by eye"]


@dataclass(frozen=True)
class Redness(Metric):
    """Red minus blue, plus the prompt's length; prompts of more than nine letters count as cut."""

    runtime = Red
    text_length = 5


class Blue(Scorer):
    def _score(self, images, prompts):
        SCORED.extend(["*"] * len(images))
        return images[:, 2].mean((1, 2))


@dataclass(frozen=True)
class Blueness(Redness):
    """Blue, whatever the prompt."""

    runtime = Blue
    uses_prompt = False
