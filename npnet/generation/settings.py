"""The keys of ``npnet generate``, checked by their annotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from npnet.backbones import Backbone
from npnet.data.prompts import Prompts
from npnet.data.seeds import Seeds
from npnet.errors import FieldError
from npnet.fields import Count, Name, NotNegative, checked
from npnet.metrics import Metric
from npnet.noise import NoiseMethod
from npnet.work.folder import OutputFolder
from npnet.work.numerics import RunKeys


class Guides:
    """A rule: guidance that has an unconditional branch, which a negative prompt changes."""

    def holds(self, value: float) -> bool:
        """See ``bounds.Rule.holds``."""
        return value > 1

    def refusal(self, value: float) -> str:
        """Say what a negative prompt needs."""
        return "without guidance a negative prompt has no effect; a number above 1 is needed"


Guided = Annotated[float, Guides()]


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
        negative_prompt: what guidance leads away from; None: from nothing, as the model was trained.
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
    negative_prompt: str | None = None
    metric: dict[str, Metric] = field(default_factory=dict)
    sampler: Name = "default"
    batch_size: Count = 8
    threads_per_worker: Count | None = None  # type: ignore[assignment]  # it has no worker whose sums must be alike

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.noise:
            raise FieldError("noise", [], "at least one noise method is needed")
        if self.negative_prompt is not None:
            self.backbone.require(("unconditional_branch",), "negative_prompt")
            checked(Guided, self.guidance_scale, "guidance_scale")
