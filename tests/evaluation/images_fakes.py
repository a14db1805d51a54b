"""Metrics that record what they are asked to score; imported by one name, so that there is one record."""

import torch

from npnet.metrics import Metric

SCORED = []


class Redness(Metric):
    """Red minus blue, plus the prompt's length; prompts of more than nine letters count as cut."""

    text_length = 5

    def load(self, device="cpu"):
        return self

    def _score(self, images, prompts):
        SCORED.extend(prompts)
        self.truncated |= {prompt for prompt in prompts if len(prompt) > 9}
        return (images[:, 0] - images[:, 2]).mean((1, 2)) + torch.tensor([float(len(p)) for p in prompts])


class Blueness(Redness):
    """Blue, whatever the prompt."""

    uses_prompt = False

    def _score(self, images, prompts):
        SCORED.extend(["*"] * len(images))
        return images[:, 2].mean((1, 2))
