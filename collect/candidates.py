"""The parts of a collection, not loaded: a model, a noise method that makes the golden noise, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from npnet.backbones import Backbone
from npnet.backbones.devices import placed
from npnet.compatibility import check_parts
from npnet.engine.batches import Kept, Sampling
from npnet.engine.pairs import PairMaker
from npnet.errors import under
from npnet.instantiate import build, build_all
from npnet.metrics import Metric, load_metrics
from npnet.noise import NoiseMethod, load_methods


class CandidateMaker:
    """What the golden noise, the pictures and the scores are made with; not loaded.

    Args:
        backbone: the model.
        label: of the noise method; names its random streams.
        method: makes the golden noise.
        metrics: label -> metric.
        num_inference_steps: of the sampling.
        guidance_scale: of the sampling, diffusers convention.
        kept: which pictures are handed on; None: none.
    """

    def __init__(
        self,
        backbone: Backbone,
        label: str,
        method: NoiseMethod,
        metrics: Mapping[str, Metric],
        num_inference_steps: int,
        guidance_scale: float,
        kept: Kept | None = None,
    ) -> None:
        self.backbone, self.label, self.method, self.metrics = backbone, label, method, dict(metrics)
        self.num_inference_steps, self.guidance_scale, self.kept = num_inference_steps, guidance_scale, kept

    @classmethod
    def from_config(cls, config: Mapping[str, Any], device: str | None = None) -> CandidateMaker:
        """Build every node of a resolved configuration and check that they fit together; loads nothing.

        Args:
            config: what ``make_plan`` checked.
            device: see ``placed``.

        Raises:
            UserError: a node cannot be built, or two of them do not go together.
        """
        backbone = build(placed(config["backbone"], device), "backbone")
        ((label, method),) = build_all(config["noise"], "noise").items()
        metrics = build_all(config["metric"], "metric")
        steps, scale = config["num_inference_steps"], float(config["guidance_scale"])
        method = check_parts(backbone, {label: method}, metrics, steps)[label]
        return cls(backbone, label, method, metrics, steps, scale, Kept() if config["keep_images"] else None)

    def load(self) -> PairMaker:
        """Load the weights of every part."""
        with under("backbone"):
            backbone = self.backbone.load()
        scorers = load_metrics(self.metrics, backbone.device)
        method = load_methods({self.label: self.method}, backbone, scorers)[self.label]
        sampling = Sampling(self.num_inference_steps, self.guidance_scale)
        return PairMaker(backbone, self.label, method, scorers, sampling, self.kept)
