"""The paper's samplers for variance-preserving families, by the name of their diffusers scheduler.

``default`` (a family's own deterministic step) lives in ``Backbone.sample``; everything here is diffusers' arithmetic
around our guided prediction.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from npnet.errors import UserError, one_line, unknown
from npnet.records import Branches, Conditioning

if TYPE_CHECKING:
    from npnet.backbones.base import Backbone

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


def check_sampler(name: str, backbone: Backbone | None = None, num_inference_steps: int | None = None) -> None:
    """Refuse an unknown sampler name, or one that ``backbone`` (loaded or not) cannot use, or not for so many steps.

    Args:
        name: ``default``, or one of ``SAMPLERS``.
        backbone: may lack its weights; the steps are then judged where its schedule is on this machine.
        num_inference_steps: None judges the name alone.

    Raises:
        UserError: says what is allowed.
    """
    if name != "default" and name not in SAMPLERS:
        raise unknown("sampler", name, ("default", *SAMPLERS))
    if backbone is None:
        return
    if name == "default":
        if num_inference_steps is not None:
            backbone.check_steps(num_inference_steps)
        return
    if backbone.kind != "variance_preserving":
        raise UserError(
            f"sampler={name}: {type(backbone).__name__} is a flow-matching model; allowed there: sampler=default"
        )
    if _fixed_levels(backbone) is not None and not _takes(_class(name).set_timesteps, "timesteps"):
        able = [other for other in SAMPLERS if _takes(_class(other).set_timesteps, "timesteps")]
        raise UserError(
            f"sampler={name} has a spacing of its own, but backbone.spacing fixes the levels; "
            f"allowed then: default, {', '.join(able)}"
        )
    if num_inference_steps is not None:
        _check_steps(name, backbone, num_inference_steps)


def make_scheduler(name: str, config: dict[str, Any]) -> Any:
    """Build the diffusers scheduler ``name`` from a family's published scheduler configuration."""
    # a key that only the published scheduler has is no concern of this one, and diffusers would warn of it
    taken = {key: value for key, value in config.items() if key.startswith("_") or _takes(_class(name), key)}
    return _class(name).from_config(taken)


def make_schedule(name: str, backbone: Backbone, num_inference_steps: int, device: torch.device | None = None) -> Any:
    """Build the scheduler ``name`` with its levels set.

    Raises:
        UserError: the checkpoint's schedule has no such number of levels under this sampler.
    """
    scheduler = make_scheduler(name, backbone.scheduler_config())
    levels = _fixed_levels(backbone)
    if levels is not None:
        backbone.check_steps(num_inference_steps)
        scheduler.set_timesteps(timesteps=[int(level) for level in levels], device=device)
        return scheduler
    count = scheduler.config.num_train_timesteps
    most = min(count, scheduler.config.get("original_inference_steps", count))  # an LCM's: those it was distilled on
    refusal = f"num_inference_steps={num_inference_steps}: sampler={name} takes 1 to {most} with this checkpoint"
    if isinstance(num_inference_steps, bool) or not 1 <= num_inference_steps <= most:
        raise UserError(refusal)
    try:
        scheduler.set_timesteps(num_inference_steps, device=device)
    except (ValueError, IndexError) as error:
        raise UserError(f"{refusal}, but not this number: {one_line(error)}") from error
    found = set(scheduler.timesteps.tolist())
    if max(found) >= count or len(found) < num_inference_steps:  # steps_offset moves the first out of the table
        raise UserError(f"{refusal}, but not this number: {count} levels do not give so many")
    return scheduler


def sample(
    backbone: Backbone,
    noise: Tensor,
    conditioning: Conditioning,
    num_inference_steps: int,
    guidance_scale: float,
    sampler: str,
    generators: Sequence[torch.Generator] | None,
) -> Tensor:
    """Denoise ``noise`` ``(B, C, *grid)`` with a diffusers scheduler; see ``Backbone.sample``.

    Raises:
        UserError: the sampler is unknown, or not for this family or this number of steps.
    """
    check_sampler(sampler, backbone)
    scheduler = make_schedule(sampler, backbone, num_inference_steps, noise.device)
    latents = noise * scheduler.init_noise_sigma
    options = {"generator": list(generators)} if generators is not None and _takes(scheduler.step, "generator") else {}
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        conditional, rest = backbone.evaluate(scaled, float(timestep), conditioning, guidance_scale != 1)
        guided = backbone.guide(Branches(float(timestep), conditional, rest), guidance_scale)
        latents = scheduler.step(guided, timestep, latents, **options, return_dict=False)[0]
    return latents


def _check_steps(name: str, backbone: Backbone, num_inference_steps: int) -> None:
    """Refuse a number of steps under the sampler ``name``, as far as it can be judged: see ``Backbone.check_steps``."""
    if _fixed_levels(backbone) is not None or not backbone.knows_schedule():
        backbone.check_steps(num_inference_steps)
    else:
        make_schedule(name, backbone, num_inference_steps)


def _class(name: str) -> Any:
    import diffusers

    return getattr(diffusers, SAMPLERS[name])


def _fixed_levels(backbone: Backbone) -> list[float] | None:
    from npnet.backbones.schedules import VariancePreserving

    return backbone.fixed_levels() if isinstance(backbone, VariancePreserving) else None


def _takes(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters
