"""The keys of ``collect.py`` and ``collect.filter``, checked by their annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from collect.selection import Selection
from npnet.backbones import Backbone
from npnet.bounds import Guidance, Identifier, Number
from npnet.costs.gpus import GPU
from npnet.data.prompts import Prompts
from npnet.data.seeds import Seeds
from npnet.description import Description, imported
from npnet.errors import FieldError
from npnet.fields import Count, Name
from npnet.metrics import Metric
from npnet.noise import NoiseMethod
from npnet.work.folder import OutputFolder, require_outside
from npnet.work.job import WorkSettings

if TYPE_CHECKING:
    from npnet.engine.pairs import PairMaker


@dataclass(frozen=True, kw_only=True)
class SelectionSettings(Description):
    """Which pairs are kept.

    Attributes:
        selection: ``all``: every metric must prefer the golden side; ``weighted``: their weighted sum.
        margin: keep when golden > source + margin, on the metric's own scale.
        weights: metric label -> weight, 1 where it is not named; for ``weighted``.
        keep_all: write the rejected pairs too, marked as not kept.
    """

    selection: Literal["all", "weighted"] = "all"
    margin: Number = 0.0
    weights: Mapping[str, Number] | None = None
    keep_all: bool = False

    @property
    def rule(self) -> Selection:
        """Return the keep rule."""
        return Selection(self.selection, self.margin, self.weights or {})

    def check_weights(self, metrics: Sequence[str]) -> None:
        """Refuse weights of other metrics than those that select, or that nothing would use.

        Raises:
            FieldError: names the weight.
        """
        if self.weights is None:
            return
        if self.selection != "weighted":
            raise FieldError("weights", self.weights, f"is only for selection=weighted, got selection={self.selection}")
        for metric, weight in self.weights.items():
            if metric not in metrics:
                allowed = ", ".join(metrics)
                raise FieldError(f"weights.{metric}", weight, f"is not a metric of this run; allowed: {allowed}")
        if not self.rule.selected_by(metrics):
            raise FieldError("weights", self.weights, "at least one weight other than 0 is needed")


@dataclass(frozen=True, kw_only=True)
class CollectSettings(WorkSettings, SelectionSettings):
    """The keys of ``collect.py``; see ``conf/collect.yaml``.

    Attributes:
        backbone: the model.
        noise: label -> noise method, exactly one: makes the golden candidates.
        metric: label -> metric: what selects, and what is stored.
        prompts: what the pairs are of.
        seeds: of each prompt.
        seed: of the run.
        num_inference_steps: of the sampling.
        guidance_scale: of the sampling, diffusers convention.
        batch_size: pairs computed at once.
        chunk_size: pairs tried for one shard.
        keep_images: write the two pictures of each pair.
        keep_embeds: write the prompt's embeddings, so that training needs no text encoder.
        card: make the data set card and its pictures when all shards are there.
        license: of the data set, by the hub's identifiers (``cc-by-4.0``), for its card.
        logger: label -> node of a Lightning logger, for watching the run.
        output_dir: the folder of the shards.
        dry_run: say what would be done, and load and write nothing.
        gpu: whose hours a dry run says.
    """

    backbone: Backbone
    prompts: Prompts
    output_dir: OutputFolder
    num_inference_steps: Count
    guidance_scale: Guidance
    noise: dict[str, NoiseMethod] = field(default_factory=dict)
    metric: dict[str, Metric] = field(default_factory=dict)
    seeds: Seeds = field(default_factory=Seeds)
    batch_size: Count = 64
    chunk_size: Count = 256
    keep_images: bool = False
    keep_embeds: bool = True
    card: bool = True
    license: Identifier | None = None
    logger: Mapping[str, Any] = field(default_factory=dict)
    gpu: GPU = field(default_factory=GPU)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.noise) != 1:
            raise FieldError("noise", list(self.noise), "exactly one noise is needed")
        if not self.metric:
            raise FieldError("metric", [], "at least one metric is needed")
        self.check_weights(list(self.metric))
        if self.logger and self.worker is not None and not self.worker.share.is_whole:
            needed = "the workers of a job array would write over each other's rows; watch them with npnet status DIR"
            raise FieldError("logger", list(self.logger), needed)

    @property
    def label(self) -> str:
        """Return the label of the noise method; names its random streams."""
        return next(iter(self.noise))

    @property
    def method(self) -> NoiseMethod:
        """Return the noise method."""
        return self.noise[self.label]

    def load(self, device: str | None = None) -> PairMaker:
        """Load the model, the metrics and the method.

        Args:
            device: of a worker, where the backbone's field leaves it open.
        """
        return imported("collect.loading:load")(self, device)


@dataclass(frozen=True, kw_only=True)
class FilterSettings(WorkSettings, SelectionSettings):
    """The keys of ``collect.filter``; see ``conf/filter.yaml``.

    Attributes:
        shards: a finished folder of pairs; it is only read.
        metric: the labels are those of the metrics that select; empty: what selected before.
        output_dir: the new folder.
        card: make the data set card and its pictures.
        license: see ``CollectSettings``.
        dry_run: say what would be kept, and write nothing.
    """

    shards: Name | None = None
    output_dir: OutputFolder
    metric: Mapping[str, Any] = field(default_factory=dict)
    card: bool = True
    license: Identifier | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shards is None:
            needed = "shards=DIR is needed: a folder that collect.py finished, preferably with keep_all=true"
            raise FieldError("shards", None, needed)
        require_outside(self.output_dir, self.source)

    @property
    def source(self) -> Path:
        """Return the folder of the pairs."""
        return Path(self.shards or "")
