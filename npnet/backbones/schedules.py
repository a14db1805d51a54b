"""The two kinds of noise schedule: levels, coefficients and steps. A family inherits one of them.

``VariancePreserving``: whole levels 0 to 999 with alpha^2 + sigma^2 = 1, the DDIM step. ``FlowMatching``: levels
1000 sigma with alpha = 1 - sigma, the Euler step. A model that diffusers does not have needs no more than one of these
two classes and the operations that ``Backbone`` leaves open.

``spacing`` (the key ``backbone.spacing``) says which levels are visited:

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
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from npnet.backbones.base import END, Backbone, Coefficients, Step
from npnet.errors import UserError, unknown

DDIM_SPACINGS = ("leading", "trailing", "linspace")
SPACINGS = (*DDIM_SPACINGS, "dpm_solver", "ays")
PREDICTION_TYPES = ("epsilon", "v_prediction")
FLOW_LEVELS = 1000.0
"""The level of pure noise in flow matching: diffusers' timestep, 1000 sigma."""


class VariancePreserving(Backbone):
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) epsilon on a trained table of a_t (``alphas_cumprod``).

    ``steps`` follows diffusers' ``DDIMScheduler`` exactly: a step lands on the level ``t - 1000 // steps``, and below
    zero on the end, where a is ``alphas_cumprod[0]`` when ``set_alpha_to_one`` is false (as SD and SDXL publish it).
    With ``dpm_solver``, ``ays`` and lists of levels a step lands on the next level, and the end is clean.
    """

    kind = "variance_preserving"
    spacing: str | Sequence[float] | None = None
    published: Mapping[str, Any]
    """The checkpoint's scheduler configuration, in the words of diffusers."""
    ays_schedule: str | None = None
    """Name of the family's entry in diffusers' ``AysSchedules``."""

    def scheduler_config(self) -> dict[str, Any]:
        """See ``Backbone.scheduler_config``; ``clip_sample`` is off unless published, ``spacing`` is applied."""
        spacing = {"timestep_spacing": self.spacing} if self.spacing in DDIM_SPACINGS else {}
        return {"clip_sample": False, **self.published, **spacing}

    def check_schedule(self) -> None:
        """Refuse a spacing that this family does not have.

        Raises:
            UserError: says what was got and what is allowed.
        """
        allowed = SPACINGS if self.ays_schedule else SPACINGS[:-1]
        if isinstance(self.spacing, str) and self.spacing not in allowed:
            raise unknown("backbone.spacing", self.spacing, allowed)
        if self.spacing is not None and not isinstance(self.spacing, str):
            check_levels(self.spacing, 0, 999, whole=True)

    def prepare_schedule(self, published: Mapping[str, Any]) -> None:
        """Read the schedule from the checkpoint's scheduler configuration.

        Raises:
            UserError: the checkpoint predicts something we cannot convert.
        """
        self.published = dict(published)
        kind = self.scheduler_config().get("prediction_type", "epsilon")
        if kind not in PREDICTION_TYPES:
            raise UserError(f"backbone: prediction_type={kind!r}; allowed: {', '.join(PREDICTION_TYPES)}")
        self._alphas_cumprod: list[float] = self._scheduler("DDIMScheduler").alphas_cumprod.double().tolist()
        self._steps: dict[int, list[Step]] = {}

    def _scheduler(self, name: str, **changed: Any) -> Any:
        import diffusers

        return getattr(diffusers, name).from_config({**self.scheduler_config(), **changed})

    def fixed_levels(self) -> list[float] | None:
        """Return the levels that ``spacing`` fixes whatever the number of steps, or None."""
        if self.spacing == "ays":
            from diffusers.schedulers import AysSchedules

            return [float(level) for level in AysSchedules[self.ays_schedule]]
        if self.spacing is None or isinstance(self.spacing, str):
            return None
        return [float(level) for level in self.spacing]

    def knows_schedule(self) -> bool:
        """See ``Backbone.knows_schedule``."""
        return hasattr(self, "_steps") or super().knows_schedule()

    def check_steps(self, num_inference_steps: int) -> None:
        """See ``Backbone.check_steps``: all of it where the schedule is known, else the number that spacing fixes."""
        super().check_steps(num_inference_steps)
        levels = self.fixed_levels()
        if self.knows_schedule():
            self.steps(num_inference_steps)
        elif levels is not None:
            fixed_steps(levels, num_inference_steps)

    def steps(self, num_inference_steps: int) -> list[Step]:
        """See ``Backbone.steps``.

        Raises:
            UserError: the schedule has fewer levels, or the spacing fixes another number.
        """
        if num_inference_steps not in self._steps:
            self._steps[num_inference_steps] = self._make_steps(num_inference_steps)
        return self._steps[num_inference_steps]

    def _make_steps(self, num_inference_steps: int) -> list[Step]:
        steps = self._spaced_steps(num_inference_steps)
        count = len(self._alphas_cumprod)
        levels = {step.from_timestep for step in steps}
        if max(levels) >= count or len(levels) < num_inference_steps:  # steps_offset moves the first out of the table
            raise UserError(f"num_inference_steps={num_inference_steps}: {count} levels do not give so many")
        if self.coefficients(steps[0].from_timestep).alpha == 0:
            raise UserError("backbone.spacing: this schedule starts without any signal (zero SNR); use spacing=leading")
        return steps

    def _spaced_steps(self, num_inference_steps: int) -> list[Step]:
        count = len(self._alphas_cumprod)
        if isinstance(num_inference_steps, bool) or not 1 <= num_inference_steps <= count:
            raise UserError(f"num_inference_steps={num_inference_steps}: allowed are 1 to {count}")
        levels = self.fixed_levels()
        if levels is not None:
            return fixed_steps(levels, num_inference_steps)
        if self.spacing == "dpm_solver":
            scheduler = self._scheduler("DPMSolverMultistepScheduler", use_karras_sigmas=False)
            scheduler.set_timesteps(num_inference_steps)
            return consecutive(scheduler.timesteps.tolist())
        scheduler = self._scheduler("DDIMScheduler")
        scheduler.set_timesteps(num_inference_steps)
        stride = count // num_inference_steps
        return [Step(float(t), float(t - stride) if t >= stride else END) for t in scheduler.timesteps.tolist()]

    def coefficients(self, timestep: float) -> Coefficients:
        """See ``Backbone.coefficients``.

        Raises:
            ValueError: the level is not a whole one, or is outside the table.
        """
        if timestep < 0:
            clean = self.spacing == "dpm_solver" or self.fixed_levels() is not None
            clean = clean or self.scheduler_config().get("set_alpha_to_one", True)
            product = 1.0 if clean else self._alphas_cumprod[0]
        elif timestep == int(timestep) and timestep < len(self._alphas_cumprod):
            product = self._alphas_cumprod[int(timestep)]
        else:
            raise ValueError(f"level {timestep}: the schedule has whole levels 0 to {len(self._alphas_cumprod) - 1}")
        return Coefficients(math.sqrt(product), math.sqrt(1.0 - product))

    def to_noise_pred(self, model_output: Tensor, latents: Tensor, timestep: float) -> Tensor:
        """See ``Backbone.to_noise_pred``: epsilon as it is; v = alpha epsilon - sigma x_0 is solved for epsilon."""
        if self.scheduler_config().get("prediction_type", "epsilon") == "epsilon":
            return model_output
        alpha, sigma = self.coefficients(timestep)
        return alpha * model_output + sigma * latents


class FlowMatching(Backbone):
    """x_t = (1 - sigma) x_0 + sigma epsilon, velocity epsilon - x_0; the level is 1000 sigma, pure noise is 1000."""

    kind = "flow"
    spacing: str | Sequence[float] | None = None
    published: Mapping[str, Any]

    @abstractmethod
    def sigmas(self, num_inference_steps: int) -> Sequence[float]:
        """Return sigma at each evaluation, from noise (1, or nearly) downwards; the end, 0, is left out."""

    def check_schedule(self) -> None:
        """Refuse a spacing by name: flow models have their own, or a list of levels.

        Raises:
            UserError: says what was got and what is allowed.
        """
        if isinstance(self.spacing, str):
            raise UserError(f"backbone.spacing={self.spacing}: {type(self).__name__} takes null, or a list of levels")
        if self.spacing is not None:
            check_levels(self.spacing, 0, FLOW_LEVELS)

    def prepare_schedule(self, published: Mapping[str, Any]) -> None:
        """Keep the checkpoint's scheduler configuration."""
        self.published = dict(published)

    def check_steps(self, num_inference_steps: int) -> None:
        """See ``Backbone.check_steps``: nothing of it needs the weights."""
        super().check_steps(num_inference_steps)
        if num_inference_steps > FLOW_LEVELS:
            raise UserError(f"num_inference_steps={num_inference_steps}: allowed are 1 to {FLOW_LEVELS:.0f}")
        if self.spacing is not None:
            fixed_steps([float(level) for level in self.spacing], num_inference_steps)

    def steps(self, num_inference_steps: int) -> list[Step]:
        """See ``Backbone.steps``; steps are consecutive.

        Raises:
            UserError: fewer than one step is asked for, or the spacing fixes another number.
        """
        self.check_steps(num_inference_steps)
        if self.spacing is not None:
            return fixed_steps([float(level) for level in self.spacing], num_inference_steps)
        return consecutive([FLOW_LEVELS * float(sigma) for sigma in self.sigmas(num_inference_steps)])

    def coefficients(self, timestep: float) -> Coefficients:
        """See ``Backbone.coefficients``: (1 - sigma, sigma)."""
        sigma = 0.0 if timestep < 0 else timestep / FLOW_LEVELS
        return Coefficients(1.0 - sigma, sigma)

    def to_noise_pred(self, model_output: Tensor, latents: Tensor, timestep: float) -> Tensor:
        """See ``Backbone.to_noise_pred``: the network predicts the velocity."""
        return model_output


def consecutive(levels: Sequence[float]) -> list[Step]:
    """Return the steps from each level to the next one, and from the last to the end."""
    return [Step(*pair) for pair in itertools.pairwise([*map(float, levels), END])]


def fixed_steps(levels: Sequence[float], num_inference_steps: int) -> list[Step]:
    """Return the steps along ``levels``.

    Raises:
        UserError: another number of steps is asked for.
    """
    if len(levels) != num_inference_steps:
        raise UserError(
            f"num_inference_steps={num_inference_steps}: backbone.spacing has {len(levels)} levels; ask for as many"
        )
    return consecutive(levels)


def check_levels(levels: Any, low: float, high: float, whole: bool = False) -> None:
    """Refuse a list that does not fall from noise to data.

    Raises:
        UserError: says what was got and what is needed.
    """
    if not isinstance(levels, Sequence):
        raise UserError(f"backbone.spacing={levels}: null, a name or a list of levels is needed")
    numbers = [v for v in levels if isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high]
    falling = all(first > second for first, second in itertools.pairwise(numbers))
    if not levels or len(numbers) != len(levels) or not falling or (whole and any(v != int(v) for v in numbers)):
        kind = "whole numbers" if whole else "numbers"
        raise UserError(f"backbone.spacing={list(levels)}: falling {kind} from {low:g} to {high:g} are needed")
