"""Which checkpoints a run keeps: what ``conf/callbacks/best.yaml`` and ``latest.yaml`` build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from npnet.description import Description
from npnet.errors import FieldError, closest
from npnet.fields import Count

MONITORED = ("train/mse", "val/mse", "val/relative_mse", "val/direction_share")
"""What is known at the end of every epoch; the evaluation adds its own."""


def check_monitor(monitor: object) -> None:
    """Refuse a value that no epoch's end knows.

    Raises:
        FieldError: names what is known.
    """
    if monitor not in MONITORED and not str(monitor).startswith("evaluation/"):
        raise FieldError("monitor", monitor, closest(monitor, [*MONITORED, "evaluation/METRIC/winning_rate"]))


@dataclass(frozen=True)
class BestCheckpoint(Description):
    """The checkpoint that is exported: the best so far, as ``best.ckpt``.

    Attributes:
        monitor: of ``MONITORED``, or a value of the evaluation (``evaluation/METRIC/winning_rate``).
        mode: ``min`` or ``max``.
    """

    monitor: str = "val/mse"
    mode: Literal["min", "max"] = "min"
    runtime: ClassVar[type | str] = "npnet.training.checkpoints:Best"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_monitor(self.monitor)

    def load(self) -> Any:
        """Return the Lightning callback."""
        return self.runtime_class()(self.monitor, self.mode)


@dataclass(frozen=True)
class LatestCheckpoint(Description):
    """What a killed run resumes from.

    Attributes:
        every_n_train_steps: steps of the optimiser that can be lost.
    """

    every_n_train_steps: Count = 200
    runtime: ClassVar[type | str] = "npnet.training.checkpoints:Latest"

    def load(self) -> Any:
        """Return the Lightning callback."""
        return self.runtime_class()(self.every_n_train_steps)
