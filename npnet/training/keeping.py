"""Which checkpoints a run keeps: what ``conf/callbacks/best.yaml`` and ``latest.yaml`` build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from npnet.description import Description
from npnet.fields import Count

FOLDER = "checkpoints"
"""Of the checkpoints, in a run's folder."""


@dataclass(frozen=True)
class BestCheckpoint(Description):
    """The checkpoint that is exported: the best so far, as ``best.ckpt``.

    Attributes:
        monitor: a value that the objective knows at the end of an epoch, see ``Objective.monitored``, or one of the
            evaluation (``evaluation/METRIC/winning_rate``).
        mode: ``min`` or ``max``.
    """

    monitor: str = "val/mse"
    mode: Literal["min", "max"] = "min"
    runtime: ClassVar[type | str] = "npnet.training.checkpoints:Best"

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
