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

from npnet.errors import UserError, unknown
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


def check_sampler(name: str, backbone: Backbone | None = None) -> None:
    """Refuse an unknown sampler name, or one that ``backbone`` (loaded or not) cannot use.

    Raises:
        UserError: says what is allowed.
    """
    if name == "default":
        return
    if name not in SAMPLERS:
        raise unknown("sampler", name, ("default", *SAMPLERS))
    if backbone is None:
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


def make_scheduler(name: str, config: dict[str, Any]) -> Any:
    """Build the diffusers scheduler ``name`` from a family's published scheduler configuration."""
    return _class(name).from_config(config)


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
        UserError: the sampler is unknown, or not for this family.
    """
    check_sampler(sampler, backbone)
    scheduler = make_scheduler(sampler, backbone.scheduler_config())
    levels = _fixed_levels(backbone)
    if levels is None:
        scheduler.set_timesteps(num_inference_steps, device=noise.device)
    else:
        backbone.steps(num_inference_steps)  # refuses another number
        scheduler.set_timesteps(timesteps=[int(level) for level in levels], device=noise.device)
    latents = noise * scheduler.init_noise_sigma
    options = {"generator": list(generators)} if generators is not None and _takes(scheduler.step, "generator") else {}
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        conditional, rest = backbone.evaluate(scaled, float(timestep), conditioning, guidance_scale != 1)
        guided = backbone.guide(Branches(float(timestep), conditional, rest), guidance_scale)
        latents = scheduler.step(guided, timestep, latents, **options, return_dict=False)[0]
    return latents


def _class(name: str) -> Any:
    import diffusers

    return getattr(diffusers, SAMPLERS[name])


def _fixed_levels(backbone: Backbone) -> list[float] | None:
    from npnet.backbones.schedules import VariancePreserving

    return backbone.fixed_levels() if isinstance(backbone, VariancePreserving) else None


def _takes(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters
