"""The checkpoints that a run keeps: the descriptions of ``conf/callbacks/best.yaml`` and ``latest.yaml``."""

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
        monitor: a value of the objective at the end of an epoch, see ``Objective.monitored``, or of the evaluation
            (``evaluation/METRIC/winning_rate``).
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
    """The checkpoint from which a killed run resumes.

    Attributes:
        every_n_train_steps: the largest number of optimiser steps that can be lost.
    """

    every_n_train_steps: Count = 200
    runtime: ClassVar[type | str] = "npnet.training.checkpoints:Latest"

    def load(self) -> Any:
        """Return the Lightning callback."""
        return self.runtime_class()(self.every_n_train_steps)
