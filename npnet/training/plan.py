"""What a training would do, and whether its parts go together; the plan of the usual callbacks needs no Lightning."""

from __future__ import annotations

from typing import Any

from npnet.description import Description
from npnet.errors import UserError
from npnet.training.callback_keys import check_keys
from npnet.training.settings import TrainSettings


def describe(settings: TrainSettings) -> str:
    """Return what a dry run prints.

    Raises:
        UserError: pairs or callbacks that training cannot use.
    """
    objective = settings.objective
    data = settings.data.find() if objective.takes_pairs else objective.load_data(settings)
    if not objective.takes_pairs:
        data.check()
    check_callbacks(settings, data)
    counts = f"would train on {data.num_samples(False)} {objective.samples}, validate on {data.num_samples(True)}"
    return f"{counts}{objective.cost(settings)}"


def check_callbacks(settings: TrainSettings, pairs: Any) -> dict[str, Any]:
    """Refuse what a callback would find out late, and return by label those that had to be built for that.

    Lightning's early stopping is judged by its keys; a callback of one's own is built, and asked by its ``check``.

    Raises:
        UserError: a callback cannot be built, or watches a validation that will not take place.
    """
    built: dict[str, Any] = {}
    for label, node in settings.callbacks_by_label():
        target = str(node.keys["_target_"])
        check_keys(node)
        if target.endswith("EarlyStopping"):
            if not pairs.num_samples(True):
                raise UserError(
                    f"callbacks.{label} watches {node.keys.get('monitor')}, but no pair is left to validate on: "
                    f"raise data.validation_share (got {pairs.validation_share})"
                )
        elif not target.startswith("lightning."):
            built[label] = node.build()
            if not isinstance(built[label], Description) and not hasattr(built[label], "on_fit_start"):
                raise UserError(f"{node.where}: _target_={target} makes no Callback")
            if hasattr(built[label], "check"):
                built[label].check()
    return built
