"""The keys of ``train.py``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from npnet.bounds import Identifier, NumWorkers
from npnet.costs.gpus import GPU
from npnet.data.pairs import Pairs
from npnet.description import Description
from npnet.errors import FieldError, UserError
from npnet.fields import Count, Name, Seed
from npnet.instantiate import Node
from npnet.networks import arguments, stored
from npnet.training.callback_keys import check_keys
from npnet.training.objective import Objective, PairsObjective
from npnet.training.optimisation import Optimisation
from npnet.training.trainer_keys import check_trainer
from npnet.weights.files import exists, local_path
from npnet.weights.sources import check_source
from npnet.work import request as requests
from npnet.work.folder import PLACE
from npnet.work.numerics import MatmulPrecision, is_usual

NOT_REQUESTED = ("output_dir", "dry_run", "gpu", "workers", "task_name", "export_from", "license")
"""Keys that do not change what comes out."""

ON_PAIRS = {"_target_": "npnet.training.objective.PairsObjective", **asdict(PairsObjective())}
"""``objective=pairs``."""


@dataclass(frozen=True)
class TrainSettings(Description):
    """What to train, on what, how, and where to.

    Attributes:
        output_dir: of the run.
        network: built once the sizes of the pairs are known.
        data: the pairs; without pairs their batch size, their validation share and their seed.
        module: the optimiser and its schedule.
        objective: what is learnt.
        trainer: Lightning's.
        callbacks: by label.
        logger: by label.
        backbone: for shards that hold no embeddings, and for objectives without pairs.
        metric: for the same objectives, by label.
        prompts: for the same.
        init_from: a network to start from.
        export_from: no training: export the network of this checkpoint of the run, ``best``, ``last`` or a file.
        export_dtype: of the exported weights.
        license: of the exported network, by the hub's identifiers (``apache-2.0``, ``openrail++``), for its card.
        batch_size: of the pairs, where ``data.batch_size`` is not set.
        task_name: names the folder where ``output_dir`` does not.
        workers: of the commands that have some; nothing here reads it.
        threads_per_worker: of torch; for this and the two keys below see ``npnet.work.numerics``.
        float32_matmul_precision: of products in float32 on a GPU.
        cudnn_tf32: of convolutions in float32 on a GPU.
        seed: of everything that is drawn.
        dry_run: only say what would be done.
        gpu: whose hours a dry run says.
    """

    output_dir: Annotated[Name, *PLACE]
    network: Node
    data: Pairs
    module: Optimisation
    trainer: Node
    callbacks: dict[str, Node] | None = field(default_factory=dict)
    logger: dict[str, Node] | None = field(default_factory=dict)
    objective: Objective = field(default_factory=PairsObjective)
    backbone: Node | None = None
    metric: dict[str, Node] | None = field(default_factory=dict)
    prompts: Node | None = None
    init_from: Name | None = None
    export_from: Name | None = None
    export_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    license: Identifier | None = None
    task_name: Name | int | float = "train"
    batch_size: Count = 64
    workers: NumWorkers = 1
    threads_per_worker: Count = 1
    float32_matmul_precision: MatmulPrecision = "highest"
    cudnn_tf32: bool = True
    seed: Seed = 0
    dry_run: bool = False
    gpu: GPU = field(default_factory=GPU)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.objective.check_run(self)
        if self.init_from is not None:
            if "/" not in self.init_from and not exists(local_path(self.init_from)):
                raise FieldError("init_from", self.init_from, "no such file or folder (a hub id is OWNER/NAME)")
            check_source(self.init_from, "init_from")
            own = self.network.keys.get("_target_") not in arguments.PLACES
            fault = stored.fault(local_path(self.init_from), own)
            if fault is not None:
                raise FieldError("init_from", self.init_from, fault)
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


def request_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides what a training comes to, as JSON values; paths in its own folder are no part of it.

    Args:
        config: the composed configuration, resolved.
    """
    folder = os.path.normpath(str(config["output_dir"]))

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, str) and value:
            path = os.path.normpath(value)
            if path == folder or path.startswith(folder + os.sep):
                return f"OUTPUT_DIR/{os.path.relpath(path, folder)}"
        return value

    wanted = {key: value for key, value in config.items() if key not in NOT_REQUESTED and not is_usual(key, value)}
    asked: dict[str, Any] = plain(wanted)
    asked["data"].pop("embeddings_cache", None)
    if asked["data"].get("decompositions_cache") is not None:  # where they are kept decides nothing, that they are does
        del asked["data"]["decompositions_cache"]
    if asked.get("objective") == ON_PAIRS:  # what runs did before they could be asked for another
        del asked["objective"]
    return asked


def check_folder(settings: TrainSettings, asked: Mapping[str, Any]) -> None:
    """Refuse a folder that is another request's; one that asks for more epochs of the run in it is no other.

    Raises:
        UserError: see ``requests.claim``.
    """
    requests.check(Path(settings.output_dir), lambda: asked_anew(settings, asked))


def asked_anew(settings: TrainSettings, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the request that the run's folder must be of: as its own is, in what may differ.

    A finished run may be given more epochs, and a checkpoint may be exported in any dtype.

    Raises:
        FieldError: nothing but the dtype of a finished run's network differs.
    """
    folder = Path(settings.output_dir)
    if not (folder / requests.NAME).is_file():
        return asked
    there, asked = requests.read(folder), json.loads(json.dumps(asked))
    as_there = {**asked, "export_dtype": there.get("export_dtype")}
    if settings.export_from is not None:
        return as_there
    if asked != there and as_there == there:
        also = f"{folder} was made with {there['export_dtype']}; with export_from=best its network is exported so, too"
        raise FieldError("export_dtype", settings.export_dtype, also)
    return there if extends(asked, there) else asked


def extends(asked: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Return whether a request asks for more epochs than another one, and for nothing else."""
    epochs = [request.get("trainer", {}).get("max_epochs") for request in (asked, there)]
    if not all(isinstance(count, int) for count in epochs) or epochs[0] <= epochs[1]:
        return False
    return {**asked, "trainer": {**asked["trainer"], "max_epochs": epochs[1]}} == there
