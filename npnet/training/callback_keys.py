"""Keys of Lightning's callbacks and loggers, checked before training: they find mistakes late, or never."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from npnet.errors import FieldError, closest, under
from npnet.fields import Below, Count, NotNegative, Whole, checked
from npnet.instantiate import Node
from npnet.training.keeping import check_monitor

KEYS: dict[str, dict[str, Any]] = {
    "EarlyStopping": {"patience": Count, "mode": Literal["min", "max"], "min_delta": NotNegative},
    "CSVLogger": {"save_dir": str, "name": str | int | None, "version": int | str | None},
    "EMAWeightAveraging": {
        "device": str | None,
        "use_buffers": bool,
        "decay": Annotated[NotNegative, Below(1)],
        "update_every_n_steps": Count,
        "update_starting_at_step": Whole | None,
        "update_starting_at_epoch": Whole | None,
    },
}
"""Class of Lightning's -> what its keys may hold."""


def check_keys(node: Node) -> None:
    """Refuse keys of a callback's node that Lightning would take without a look.

    Raises:
        FieldError: names the key.
    """
    name = str(node.keys.get("_target_")).split(".")[-1]
    allowed = KEYS.get(name, {})
    if name == "EarlyStopping":
        with under(node.where):
            check_monitor(node.keys.get("monitor"))
    for key, value in node.keys.items():
        if key in allowed:
            checked(allowed[key], value, f"{node.where}.{key}")
        elif name == "EMAWeightAveraging" and key != "_target_":  # it hands on what it does not know
            raise FieldError(f"{node.where}.{key}", value, f"no such key; {closest(key, allowed)}")
