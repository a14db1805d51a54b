"""The names of the paper's samplers for variance-preserving families, and which of them a model supports.

``default`` is the family's own deterministic step (``LoadedBackbone.sample``); the others are diffusers' schedulers.
"""

from __future__ import annotations

from typing import Protocol

from npnet.backbones.schedules import Schedule
from npnet.description import imported
from npnet.errors import FieldError, UserError, unknown

SAMPLERS = {
    "ddim": "DDIMScheduler",
    "dpm_solver_multistep": "DPMSolverMultistepScheduler",
    "ddpm": "DDPMScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "kdpm2_ancestral": "KDPM2AncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "lcm": "LCMScheduler",
}
"""Sampler name -> diffusers class: the seven of the paper's figure 13, and the one that LCM LoRAs are made for."""
TAKE_LEVELS = ("dpm_solver_multistep", "ddpm", "heun", "lcm")
"""Those whose levels can be given; the others have a spacing of their own."""


SCM = "scm"
"""The sampler that SANA-Sprint is published with: new noise on what the step before found."""
SCM_SCHEDULER = "SCMScheduler"
"""What diffusers calls it; a checkpoint whose scheduler it is takes that sampler."""


class HasSchedule(Protocol):
    """A model, described or loaded."""

    @property
    def name(self) -> str:
        """The family's name."""

    def schedule(self) -> Schedule:
        """See ``Backbone.schedule``."""


def check_sampler(name: str, backbone: HasSchedule | None = None, num_inference_steps: int | None = None) -> None:
    """Refuse a sampler that is unknown, or that ``backbone`` cannot use, with this number of steps.

    Args:
        name: ``default``, ``scm``, or one of ``SAMPLERS``.
        backbone: a description or a loaded model.
        num_inference_steps: None checks only the name.

    Raises:
        UserError: says what is allowed.
    """
    if name != "default" and name not in (SCM, *SAMPLERS):
        raise unknown("sampler", name, ("default", *SAMPLERS, SCM))
    if backbone is None:
        return
    schedule = backbone.schedule()
    if name != "default":
        _check_kind(name, schedule, backbone.name)
    if num_inference_steps is None:
        return
    if name in ("default", SCM):
        schedule.steps(num_inference_steps)
    else:  # only diffusers' own scheduler knows; a run with it needs diffusers anyway
        imported("npnet.backbones.runtime.samplers:make_schedule")(name, schedule, num_inference_steps)


def _check_kind(name: str, schedule: Schedule, family: str) -> None:
    own = (schedule.published or {}).get("_class_name") == SCM_SCHEDULER
    if name == SCM:
        if not own:
            raise FieldError("sampler", name, f"it is SANA-Sprint's; use sampler=default with {family}")
        return
    if schedule.kind != "variance_preserving":
        allowed = f"sampler=default{f', {SCM}' if own else ''}"
        raise FieldError("sampler", name, f"{family} is a flow-matching model; allowed there: {allowed}")
    if schedule.published is None:
        raise FieldError("sampler", name, f"{family} samples with its own rule only; use sampler=default")
    if schedule.fixed_levels() is not None and name not in TAKE_LEVELS:
        raise UserError(
            f"sampler={name} has a spacing of its own, but backbone.spacing fixes the levels; "
            f"allowed then: default, {', '.join(TAKE_LEVELS)}"
        )
