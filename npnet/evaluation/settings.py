"""The keys of ``evaluate.py``, checked by their annotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from npnet.backbones import Backbone
from npnet.bounds import Guidance, Resamples
from npnet.costs.gpus import GPU
from npnet.data.prompts import Prompts
from npnet.data.seeds import Seeds
from npnet.errors import FieldError
from npnet.fields import Count, Name, Whole
from npnet.metrics import Metric
from npnet.metrics.spaces import FeatureSpace
from npnet.noise import NoiseMethod
from npnet.work.folder import OutputFolder
from npnet.work.job import WorkSettings


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(WorkSettings):
    """The keys of ``evaluate.py``; see ``conf/evaluate.yaml``. Workers get them and load the described parts.

    Attributes:
        backbone: the model.
        noise: label -> noise method; with several training seeds, each network has a label, see ``training_seeds``.
        metric: label -> metric.
        diversity: label -> space of features that measures the diversity of a prompt's pictures.
        prompts: of the pictures.
        seeds: of each prompt.
        seed: of the run.
        num_inference_steps: of the sampling.
        guidance_scale: of the sampling, diffusers convention.
        sampler: see ``LoadedBackbone.sample``.
        batch_size: samples computed at once.
        chunk_size: samples in one resumable piece of work.
        optimised: labels of metrics that selected the training data of a network.
        num_pictures: number of rows of pictures in the report.
        keep_images: keep the pictures of all methods, for all samples or for the first ones.
        added_metrics: how a metric that was added later scores existing samples: the picture is made again, or the kept
            8-bit picture is scored.
        num_resamples: of prompts, for the intervals.
        output_dir: the folder of the results.
        dry_run: only say what would be done.
        gpu: the GPU for which a dry run estimates hours.
    """

    backbone: Backbone
    noise: dict[str, NoiseMethod]
    metric: dict[str, Metric]
    prompts: Prompts
    output_dir: OutputFolder
    num_inference_steps: Count
    guidance_scale: Guidance
    seeds: Seeds
    diversity: dict[str, FeatureSpace] = field(default_factory=dict)
    sampler: Name = "default"
    batch_size: Count = 64
    chunk_size: Count = 64
    optimised: tuple[str, ...] = ()
    num_pictures: Whole = 12
    keep_images: Literal["all"] | Whole = "all"
    added_metrics: Literal["sample", "kept"] = "sample"
    num_resamples: Resamples = 10000
    gpu: GPU = field(default_factory=GPU)

    def __post_init__(self) -> None:
        super().__post_init__()
        for group in ("noise", "metric"):
            if not getattr(self, group):
                raise FieldError(group, [], f"at least one {group} is needed")

    def num_kept(self, num_samples: int) -> int:
        """Return the number of samples, from the first on, whose pictures are kept."""
        return num_samples if self.keep_images == "all" else min(self.keep_images, num_samples)
