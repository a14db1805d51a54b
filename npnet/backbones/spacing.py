"""The levels that sampling visits: the key ``backbone.spacing``.

| value | levels |
|---|---|
| none | the checkpoint's own |
| ``leading``, ``trailing``, ``linspace`` | DDIM's, by the names of diffusers (variance-preserving only) |
| ``dpm_solver`` | those of ``DPMSolverMultistepScheduler``; our step is then its first-order step |
| ``ays`` | Align Your Steps (Sabour et al. 2024), 10 levels, for SD and SDXL |
| a list | these, from noise to data |
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from npnet.backbones.levels import DDIM_SPACINGS
from npnet.errors import FieldError, closest

SPACINGS = (*DDIM_SPACINGS, "dpm_solver", "ays")
FLOW_LEVELS = 1000.0
"""The level of pure noise in flow matching: diffusers' timestep, 1000 sigma."""
Kind = Literal["variance_preserving", "flow"]
Spacing = str | Sequence[float] | None


def check_spacing(spacing: Spacing, kind: Kind, ays: bool, who: str) -> None:
    """Refuse a spacing that a family does not support.

    Args:
        spacing: None, a name or a list of levels.
        kind: of the schedule.
        ays: whether the family has Align Your Steps.
        who: the family's name.

    Raises:
        FieldError: says what was given and what is allowed.
    """
    if isinstance(spacing, str):
        if kind == "flow":
            raise FieldError("spacing", spacing, f"{who} takes null, or a list of levels")
        allowed = SPACINGS if ays else SPACINGS[:-1]
        if spacing not in allowed:
            raise FieldError("spacing", spacing, closest(spacing, allowed))
    elif spacing is not None:
        high, whole = (FLOW_LEVELS, False) if kind == "flow" else (999, True)
        falling = all(first > second for first, second in itertools.pairwise(spacing))
        inside = all(0 <= level <= high and (not whole or level == int(level)) for level in spacing)
        if not spacing or not falling or not inside:
            words = "whole numbers" if whole else "numbers"
            raise FieldError("spacing", list(spacing), f"falling {words} from 0 to {high:g} are needed")
