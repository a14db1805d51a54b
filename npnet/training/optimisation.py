"""The optimiser of a network and its schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from npnet.bounds import NotHuge
from npnet.description import Description
from npnet.fields import Above, AtLeast, Below, Whole

Beta = Annotated[float, AtLeast(0), Below(1)]


@dataclass(frozen=True)
class Optimisation(Description):
    """AdamW and its schedule; the ``module`` keys of ``train.py``.

    Attributes:
        learning_rate: of AdamW (published: 1e-4).
        weight_decay: of AdamW, for all weights (published code: PyTorch's default, 0.01).
        schedule: ``constant`` (published) or ``cosine`` to zero over the run.
        warmup_steps: linear warm-up from zero.
        betas: of AdamW.
    """

    runtime: ClassVar[type | str] = "npnet.training.module:NPNetModule"

    learning_rate: Annotated[float, Above(0), NotHuge(1)] = 1e-4
    weight_decay: Annotated[float, AtLeast(0), NotHuge(100)] = 0.01
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Whole = 0
    betas: tuple[Beta, Beta] = (0.9, 0.999)

    def factor(self, step: int, num_steps: int) -> float:
        """Return the factor of the learning rate at ``step``, counted from 0, of ``num_steps`` in all.

        Only ``cosine`` uses ``num_steps``; 0 leaves that part out.
        """
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.schedule != "cosine" or not num_steps:
            return warm
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps)))
