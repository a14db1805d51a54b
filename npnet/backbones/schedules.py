"""Noise schedules: levels, coefficients and steps, as pure numbers.

``VariancePreservingSchedule`` has whole levels from 0 to 999 with alpha^2 + sigma^2 = 1, and the DDIM step.
``FlowSchedule`` has levels 1000 sigma with alpha = 1 - sigma, and the Euler step. A model with another rule defines its
own ``Schedule``.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from npnet.backbones import levels
from npnet.backbones.spacing import FLOW_LEVELS, Kind, Spacing
from npnet.errors import FieldError, UserError
from npnet.fields import Count, checked

PREDICTION_TYPES = ("epsilon", "v_prediction")
END = -1.0
"""The level after the last step."""


class Coefficients(NamedTuple):
    """x_t = alpha x_0 + sigma epsilon, as Python floats (double precision)."""

    alpha: float
    sigma: float


class Step(NamedTuple):
    """One sampler step; levels are scheduler timesteps, -1 is the end of sampling."""

    from_timestep: float
    to_timestep: float


class Schedule(ABC):
    """The noise levels, their coefficients, and the levels that sampling visits.

    Args:
        kind: ``variance_preserving``, where predictions are epsilon, or ``flow``, where they are velocities.
        predicts: what the network itself predicts, if that differs: ``v_prediction``.
        published: the checkpoint's scheduler configuration in diffusers, from which other samplers are made; None where
            there is none.
    """

    def __init__(self, kind: Kind, predicts: str | None = None, published: Mapping[str, Any] | None = None) -> None:
        self.kind, self.predicts, self.published = kind, predicts, published

    @abstractmethod
    def coefficients(self, timestep: float) -> Coefficients:
        """Return alpha and sigma at a level; ``END`` is the end of sampling."""

    @abstractmethod
    def spaced(self, num_inference_steps: int) -> list[Step]:
        """Return the steps for a valid number of steps; see ``steps``."""

    def steps(self, num_inference_steps: int) -> list[Step]:
        """Return the sampler's steps, from noise to the end; consecutive except where the family's spacing is not.

        Raises:
            FieldError: of ``num_inference_steps``: not a whole number of at least 1, more than the schedule has, or not
                the number that the spacing fixes.
        """
        return self.spaced(checked(Count, num_inference_steps, "num_inference_steps"))

    def timesteps(self, num_inference_steps: int) -> list[float]:
        """Return the levels at which the denoiser is evaluated, first to last."""
        return [step.from_timestep for step in self.steps(num_inference_steps)]

    def step_coefficients(self, from_timestep: float, to_timestep: float) -> tuple[float, float]:
        """Return (A, B) of the deterministic step ``A latents + B noise_pred``: DDIM, or Euler for flow matching."""
        start, end = self.coefficients(from_timestep), self.coefficients(to_timestep)
        if self.kind == "flow":
            return 1.0, end.sigma - start.sigma
        ratio = end.alpha / start.alpha
        return ratio, end.sigma - ratio * start.sigma

    def fixed_levels(self) -> list[float] | None:
        """Return the levels that the spacing fixes, or None."""
        return None


class VariancePreservingSchedule(Schedule):
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) epsilon on a trained table of a_t (``alphas_cumprod``).

    ``steps`` follows diffusers' ``DDIMScheduler`` exactly: a step lands on the level ``t - 1000 // steps``, and below
    zero on the end, where a is ``alphas_cumprod[0]`` when ``set_alpha_to_one`` is false (as SD and SDXL publish it).
    With ``dpm_solver``, ``ays`` and lists of levels, a step lands on the next level, and the end is clean. The end is
    also clean for a checkpoint that is published with an Euler scheduler and trailing levels (turbo).

    Args:
        published: the checkpoint's scheduler configuration.
        spacing: see ``spacing``.
        ays: the family's Align Your Steps, where it has them.

    Raises:
        UserError: the checkpoint predicts something that cannot be converted, or its table is of an unknown form.
    """

    def __init__(
        self, published: Mapping[str, Any], spacing: Spacing = None, ays: Sequence[float] | None = None
    ) -> None:
        stated = levels.plain(published)
        own = {"timestep_spacing": spacing} if spacing in levels.DDIM_SPACINGS else {}
        config = {"clip_sample": False, **stated, **own}
        predicts = config.get("prediction_type", "epsilon")
        if predicts not in PREDICTION_TYPES:
            raise UserError(f"prediction_type={predicts!r}; allowed: {', '.join(PREDICTION_TYPES)}")
        super().__init__("variance_preserving", predicts, config)
        self.config, self.spacing = config, spacing
        self.table = levels.alphas_cumprod(config)
        fixed = ays if spacing == "ays" else None if isinstance(spacing, str) else spacing
        self._fixed = None if fixed is None else [float(level) for level in fixed]
        pndm = config.get("_class_name") == "PNDMScheduler"  # the only class with another default
        # few-step checkpoints: with 1 to 4 steps, the noise that DDIM leaves would be visible in the picture
        turbo = str(config.get("_class_name")).startswith("Euler") and stated.get("timestep_spacing") == "trailing"
        ends_clean = (
            spacing == "dpm_solver"
            or self._fixed is not None
            or (turbo and spacing is None)
            or config.get("set_alpha_to_one", not pndm)
        )
        self._end = 1.0 if ends_clean else self.table[0]

    def fixed_levels(self) -> list[float] | None:
        """See ``Schedule.fixed_levels``: of ``ays`` and of lists."""
        return self._fixed

    def coefficients(self, timestep: float) -> Coefficients:
        """See ``Schedule.coefficients``.

        Raises:
            ValueError: the level is not a whole number, or is outside the table.
        """
        if timestep < 0:
            product = self._end
        elif timestep == int(timestep) and timestep < len(self.table):
            product = self.table[int(timestep)]
        else:
            raise ValueError(f"level {timestep}: the schedule has whole levels 0 to {len(self.table) - 1}")
        return Coefficients(math.sqrt(product), math.sqrt(1.0 - product))

    def spaced(self, num_inference_steps: int) -> list[Step]:
        """See ``Schedule.spaced``.

        Raises:
            FieldError: the schedule has fewer levels, starts without any signal, or the spacing fixes another number.
        """
        count = len(self.table)
        if num_inference_steps > count:
            raise refused(num_inference_steps, f"allowed: 1 to {count}")
        steps = self._spaced(num_inference_steps)
        visited = {step.from_timestep for step in steps}
        if max(visited) >= count or len(visited) < num_inference_steps:  # steps_offset moves the first out of the table
            raise refused(num_inference_steps, f"{count} levels are too few")
        if self.coefficients(steps[0].from_timestep).alpha == 0:
            raise FieldError(
                "spacing", self.spacing, "this schedule starts without any signal (zero SNR); use spacing=leading"
            )
        return steps

    def _spaced(self, num_inference_steps: int) -> list[Step]:
        if self._fixed is not None:
            return fixed_steps(self._fixed, num_inference_steps)
        if self.spacing == "dpm_solver":
            return consecutive(levels.dpm_solver_levels(self.config, self.table, num_inference_steps))
        stride = len(self.table) // num_inference_steps
        visited = levels.ddim_levels(self.config, num_inference_steps)
        return [Step(float(t), float(t - stride) if t >= stride else END) for t in visited]


class FlowSchedule(Schedule):
    """x_t = (1 - sigma) x_0 + sigma epsilon, velocity epsilon - x_0; the level is 1000 sigma, pure noise is 1000.

    Args:
        sigmas: a function from the number of steps to the sigmas of all evaluations, from noise (about 1) downwards,
            without the end, 0.
        spacing: None, or a list of levels that replaces them.
        published: see ``Schedule``.
    """

    def __init__(
        self,
        sigmas: Callable[[int], Sequence[float]],
        spacing: Spacing = None,
        published: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__("flow", published=published)
        self.sigmas = sigmas
        self._fixed = None if spacing is None or isinstance(spacing, str) else [float(level) for level in spacing]

    def fixed_levels(self) -> list[float] | None:
        """See ``Schedule.fixed_levels``."""
        return self._fixed

    def spaced(self, num_inference_steps: int) -> list[Step]:
        """See ``Schedule.spaced``; steps are consecutive."""
        if num_inference_steps > FLOW_LEVELS:
            raise refused(num_inference_steps, f"allowed: 1 to {FLOW_LEVELS:.0f}")
        if self._fixed is not None:
            return fixed_steps(self._fixed, num_inference_steps)
        return consecutive([FLOW_LEVELS * float(sigma) for sigma in self.sigmas(num_inference_steps)])

    def coefficients(self, timestep: float) -> Coefficients:
        """See ``Schedule.coefficients``: (1 - sigma, sigma)."""
        sigma = 0.0 if timestep < 0 else timestep / FLOW_LEVELS
        return Coefficients(1.0 - sigma, sigma)


def refused(num_inference_steps: object, needed: str) -> FieldError:
    """Return the error for a number of steps."""
    return FieldError("num_inference_steps", num_inference_steps, needed)


def consecutive(visited: Sequence[float]) -> list[Step]:
    """Return the steps from each level to the next one, and from the last to the end."""
    return [Step(*pair) for pair in itertools.pairwise([*map(float, visited), END])]


def fixed_steps(visited: Sequence[float], num_inference_steps: int) -> list[Step]:
    """Return the steps along fixed levels.

    Raises:
        FieldError: another number of steps is asked for.
    """
    if len(visited) != num_inference_steps:
        raise refused(num_inference_steps, f"backbone.spacing has {len(visited)} levels; ask for that many")
    return consecutive(visited)
