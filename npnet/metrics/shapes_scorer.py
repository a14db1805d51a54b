"""The preference model of Shapes, which selects pairs and is differentiable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from npnet.errors import FieldError
from npnet.fields import Name
from npnet.metrics.shapes_metric import ShapesMetric
from npnet.paths import shapes_weights
from npnet.weights.files import local_path
from npnet.weights.sources import check_local


@dataclass(frozen=True)
class ShapesScorer(ShapesMetric):
    """Cosine similarity of a dual encoder of Shapes pictures and prompts, in [-1, 1].

    It takes the place that HPSv2 has on real models, so on Shapes it is the metric that selects. Results that were
    collected or searched with it are marked as optimised for it.
    """

    runtime = "npnet.metrics.runtime.shapes_scorer:ShapesScorerScorer"
    differentiable = True

    path: Name | None = None

    @property
    def folder(self) -> Path:
        """Return the folder of the weights."""
        return shapes_weights() / "scorer" if self.path is None else local_path(self.path)

    def check(self) -> None:
        """See ``Description.check``."""
        if not (self.folder / "model.safetensors").is_file():
            raise FieldError("path", str(self.folder), "no Shapes scorer there (model.safetensors is missing)")
        check_local(str(self.folder), "path")
