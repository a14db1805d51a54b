"""The base of the two metrics of the built-in model, which know only its words and its picture size."""

from __future__ import annotations

from dataclasses import dataclass

from npnet.metrics.base import Metric
from npnet.shapes.grammar import parse


@dataclass(frozen=True)
class ShapesMetric(Metric):
    """A metric of 32 x 32 pictures of two coloured shapes."""

    display_scale = 100.0
    domain = "shapes"
    picture_size = (32, 32)
    example_prompts = (
        "a red circle to the left of a blue square",
        "a green cross above a yellow triangle",
        "a cyan square below a purple circle",
    )

    def check_prompt(self, prompt: str) -> None:
        """See ``Metric.check_prompt``: the words of the Shapes grammar are all it knows."""
        parse(prompt)
