"""The keys of ``train.py`` that an objective reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from npnet.bounds import Identifier
from npnet.costs.gpus import GPU
from npnet.data.pairs import Pairs
from npnet.errors import FieldError, UserError
from npnet.fields import Count, Name
from npnet.instantiate import Node
from npnet.networks import arguments, stored
from npnet.training.callback_keys import check_keys
from npnet.training.optimisation import Optimisation
from npnet.training.trainer_keys import check_trainer
from npnet.weights.files import exists, local_path
from npnet.weights.sources import check_source
from npnet.work.folder import PLACE
from npnet.work.numerics import RunKeys


@dataclass(frozen=True, kw_only=True)
class RunSettings(RunKeys):
    """The keys that an objective reads: all except the objective itself.

    Attributes:
        output_dir: of the run.
        network: built when the sizes of the pairs are known.
        data: the pairs; for objectives without pairs, only batch size, validation share and seed.
        module: the optimiser and its schedule.
        trainer: Lightning's.
        callbacks: by label.
        logger: by label.
        backbone: for shards that hold no embeddings, and for objectives without pairs.
        metric: for the same objectives, by label.
        prompts: for the same.
        init_from: a network to start from.
        export_from: do not train, but export the network of this checkpoint of the run: ``best``, ``last`` or a file.
        export_dtype: of the exported weights.
        license: of the exported network, by the hub's identifiers (``apache-2.0``, ``openrail++``), for its card.
        batch_size: of the pairs, where ``data.batch_size`` is not set.
        seed: of all random draws.
        dry_run: only say what would be done.
        gpu: the GPU for which a dry run estimates hours.
    """

    output_dir: Annotated[Name, *PLACE]
    network: Node
    data: Pairs
    module: Optimisation
    trainer: Node
    callbacks: dict[str, Node] | None = field(default_factory=dict)
    logger: dict[str, Node] | None = field(default_factory=dict)
    backbone: Node | None = None
    metric: dict[str, Node] | None = field(default_factory=dict)
    prompts: Node | None = None
    init_from: Name | None = None
    export_from: Name | None = None
    export_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    license: Identifier | None = None
    batch_size: Count = 64
    gpu: GPU = field(default_factory=GPU)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init_from is not None:
            if "/" not in self.init_from and not exists(local_path(self.init_from)):
                raise FieldError("init_from", self.init_from, "no such file or folder (a hub id is OWNER/NAME)")
            check_source(self.init_from, "init_from")
            place = str(self.network.keys.get("_target_"))
            stored.check(self.init_from, "init_from", None if place in arguments.PLACES else place)
        check_trainer(self.trainer)
        for node in (self.logger or {}).values():
            check_keys(node)
        for label, node in (self.callbacks or {}).items():
            if "_target_" not in node.keys:
                raise UserError(f"callbacks.{label}: this callback is not chosen; add it: callbacks=[...,{label}]")

    def callbacks_by_label(self) -> list[tuple[str, Node]]:
        """The callbacks with their labels, in order."""
        return list((self.callbacks or {}).items())

    @property
    def max_epochs(self) -> int:
        """The epochs of the whole run."""
        return int(self.trainer.keys.get("max_epochs", 1))
