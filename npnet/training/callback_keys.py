"""Keys of Lightning's callbacks and loggers, checked early, because Lightning finds mistakes late or never."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from npnet.bounds import Number
from npnet.fields import Below, Count, Name, NotNegative, Whole
from npnet.instantiate import Node

KEYS: dict[str, dict[str, Any]] = {
    "EarlyStopping": {
        "monitor": str,
        "patience": Count,
        "mode": Literal["min", "max"],
        "min_delta": NotNegative,
        "verbose": bool,
        "strict": bool,
        "check_finite": bool,
        "stopping_threshold": Number | None,
        "divergence_threshold": Number | None,
        "check_on_train_epoch_end": bool | None,
        "log_rank_zero_only": bool,
    },
    "EMAWeightAveraging": {
        "device": str | None,
        "use_buffers": bool,
        "decay": Annotated[NotNegative, Below(1)],
        "update_every_n_steps": Count,
        "update_starting_at_step": Whole | None,
        "update_starting_at_epoch": Whole | None,
    },
    "CSVLogger": {
        "save_dir": str,
        "name": str | int | None,
        "version": int | str | None,
        "prefix": str,
        "flush_logs_every_n_steps": Count,
    },
    "WandbLogger": {
        "save_dir": str,
        "project": Name | None,
        "name": str | int | None,
        "offline": bool,
        "log_model": bool | Literal["all"],
    },
}
"""Class of Lightning's -> what its keys may hold."""
OPEN = ("WandbLogger",)
"""Classes that hand further keys on to their library."""


def is_known(node: Node) -> bool:
    """Say whether the keys of a node's class are known here; any other class shows a mistake when it is built."""
    target = str(node.keys.get("_target_"))
    return target in {f"lightning.pytorch.{kind}.{name}" for kind in ("callbacks", "loggers") for name in KEYS}


def check_keys(node: Node) -> None:
    """Refuse keys of a callback's node that Lightning would accept without a check.

    Raises:
        FieldError: names the key.
    """
    target = str(node.keys.get("_target_"))
    name = target.split(".")[-1]
    allowed = KEYS.get(name, {}) if target.startswith("lightning.") else {}
    node.check(allowed, open_ended=not allowed or name in OPEN)
