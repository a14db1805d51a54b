"""Keys of Lightning's trainer, checked without Lightning, which finds some mistakes late, or waits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from npnet.errors import FieldError
from npnet.fields import Above, AtLeast, AtMost, Count, NotNegative, Share, Whole
from npnet.instantiate import Node

USUAL = ("lightning.Trainer", "lightning.pytorch.Trainer")
"""The class; of any other one the keys are its own."""
Devices = Annotated[int, AtLeast(1), AtMost(4096)]
Precision = Literal[
    "32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "transformer-engine",
    "transformer-engine-float16", "16", "32", "64", "bf16", 16, 32, 64, None
]  # fmt: skip
STRATEGIES = ("auto", "ddp", "fsdp", "deepspeed", "dp", "xla", "single_", "model_parallel", "hpu")
"""Beginnings of the names of Lightning's strategies."""


class Strategy:
    """A rule: a name that Lightning could have for a strategy."""

    def holds(self, value: Any) -> bool:
        """See ``bounds.Rule.holds``."""
        return value.startswith(STRATEGIES)

    def __str__(self) -> str:
        """Return the rule in words."""
        return "that names a strategy of Lightning (auto, ddp, fsdp, ...)"


class Different:
    """A rule: numbers of devices, at least one and none twice."""

    def holds(self, value: Any) -> bool:
        """See ``bounds.Rule.holds``."""
        return 0 < len(value) == len(set(value))

    def __str__(self) -> str:
        """Return the rule in words."""
        return "that are all different"


Limit = Whole | Share | None
SomeOf = Count | Annotated[float, Above(0), AtMost(1)] | None
"""Batches, or a share of them, of which something is left."""
KEYS: dict[str, Any] = {
    "accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
    "strategy": Annotated[str, Strategy()] | Mapping[str, Any],
    "devices": Devices | Literal["auto", -1] | str | Annotated[tuple[Whole, ...], Different()],
    "num_nodes": Devices,
    "precision": Precision,
    "max_epochs": Count,
    "min_epochs": Count | None,
    "min_steps": Whole | None,
    "limit_train_batches": SomeOf,
    "limit_val_batches": Limit,
    "limit_test_batches": Limit,
    "limit_predict_batches": Limit,
    "val_check_interval": Count | Share,
    "check_val_every_n_epoch": Count | None,
    "num_sanity_val_steps": Annotated[int, AtLeast(-1)],
    "log_every_n_steps": Count,
    "enable_model_summary": bool | None,
    "accumulate_grad_batches": Count,
    "gradient_clip_val": NotNegative | None,
    "gradient_clip_algorithm": Literal["value", "norm", None],
    "deterministic": bool | Literal["warn"] | None,
    "benchmark": bool | None,
    "inference_mode": bool,
    "profiler": Literal["simple", "advanced", "pytorch", "xla"] | Mapping[str, Any] | None,
    "detect_anomaly": bool,
    "barebones": bool,
    "plugins": Any,
    "sync_batchnorm": bool,
    "enable_autolog_hparams": bool,
    "model_registry": str | None,
}
"""What the keys may hold."""
ELSEWHERE = {
    "max_steps": "the number of epochs sets the length of a run",
    "max_time": "the number of epochs sets the length of a run",
    "logger": "loggers are chosen by logger=[...]",
    "callbacks": "callbacks are chosen by callbacks=[...]",
    "enable_checkpointing": "checkpoints are chosen by callbacks=[best,latest]",
    "enable_progress_bar": "the progress bar is shown on a terminal only",
    "fast_dev_run": "no checkpoint would be kept; for a short run use trainer.max_epochs=1",
    "overfit_batches": "data.max_pairs=N trains on few pairs",
    "default_root_dir": "a run writes into output_dir",
    "use_distributed_sampler": "pairs are already distributed to the processes",
    "reload_dataloaders_every_n_epochs": "the pairs are read again in every epoch anyway",
}
"""Keys that a run decides otherwise, and what it says of them."""
DEFAULTS: dict[str, Any] = {
    "max_steps": -1,
    "max_time": None,
    "use_distributed_sampler": True,
    "fast_dev_run": False,
    "overfit_batches": 0,
}
LAUNCHERS = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "MASTER_ADDR", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE")
"""Variables of the environment, one of which is set where several machines were started together."""


def check_trainer(node: Node) -> None:
    """Refuse keys of the trainer's node.

    Raises:
        FieldError: names the key.
    """
    if node.keys.get("_target_") not in USUAL:
        return
    elsewhere = [key for key in node.keys if key in ELSEWHERE]
    for key in elsewhere:
        if node.keys[key] != DEFAULTS.get(key, ...):
            raise FieldError(f"{node.where}.{key}", node.keys[key], ELSEWHERE[key])
    node.check({**KEYS, **dict.fromkeys(elsewhere, Any)})


def check_nodes_are_there(node: Node) -> None:
    """Refuse several machines if this process was started alone, because it would wait for the others.

    Raises:
        FieldError: names ``num_nodes``.
    """
    asked = node.keys.get("num_nodes", 1)
    if asked != 1 and not any(name in os.environ for name in LAUNCHERS):
        raise FieldError(
            f"{node.where}.num_nodes",
            asked,
            "this process was started alone and would wait for the other machines; start one on each by srun or "
            "torchrun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK",
        )
