"""The keys of ``npnet generate``, checked by their annotations."""

from __future__ import annotations

from dataclasses import dataclass, field

from npnet.backbones import Backbone
from npnet.data.prompts import Prompts
from npnet.data.seeds import Seeds
from npnet.errors import FieldError
from npnet.fields import Count, Name, NotNegative
from npnet.metrics import Metric
from npnet.noise import NoiseMethod
from npnet.work.folder import OutputFolder
from npnet.work.numerics import RunKeys


@dataclass(frozen=True, kw_only=True)
class GenerateSettings(RunKeys):
    """The keys of ``npnet generate``; see ``conf/generate.yaml``.

    Attributes:
        backbone: the model.
        noise: label -> noise method.
        prompts: what the pictures are of.
        output_dir: the folder of the pictures.
        num_inference_steps: of the sampling.
        guidance_scale: of the sampling, diffusers convention.
        seeds: of each prompt.
        metric: label -> metric; scores the pictures.
        seed: of the run: names the streams of a search's own draws.
        sampler: see ``LoadedBackbone.sample``.
        batch_size: pictures made at once.
        threads_per_worker: CPU threads; None: as torch has it.
        dry_run: say what would be made, and load and write nothing.
    """

    backbone: Backbone
    noise: dict[str, NoiseMethod]
    prompts: Prompts
    output_dir: OutputFolder
    num_inference_steps: Count
    guidance_scale: NotNegative
    seeds: Seeds
    metric: dict[str, Metric] = field(default_factory=dict)
    sampler: Name = "default"
    batch_size: Count = 8
    threads_per_worker: Count | None = None  # type: ignore[assignment]  # it has no worker whose sums must be alike

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.noise:
            raise FieldError("noise", [], "at least one noise method is needed")
