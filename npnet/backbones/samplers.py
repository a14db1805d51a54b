"""The paper's samplers for variance-preserving families, by the name of their diffusers scheduler.

``default`` (a family's own deterministic step) lives in ``Backbone.sample``; everything here is diffusers' arithmetic
around our guided prediction.
"""

from __future__ import annotations

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
}
"""Sampler name -> diffusers class: the seven of the paper's figure 13."""


def check_sampler(name: str) -> None:
    """Refuse an unknown sampler name.

    Raises:
        UserError: ``name`` is neither ``default`` nor one of ``SAMPLERS``.
    """
    if name != "default" and name not in SAMPLERS:
        raise unknown("sampler", name, ("default", *SAMPLERS))


def make_scheduler(name: str, config: dict[str, Any]) -> Any:
    """Build the diffusers scheduler ``name`` from a family's published scheduler configuration."""
    import diffusers

    check_sampler(name)
    return getattr(diffusers, SAMPLERS[name]).from_config(config)


def sample(
    backbone: Backbone,
    noise: Tensor,
    conditioning: Conditioning,
    num_inference_steps: int,
    guidance_scale: float,
    sampler: str,
    generators: Sequence[torch.Generator] | None,
) -> Tensor:
    """Denoise ``noise`` ``(B, C, *grid)`` with a diffusers scheduler; see ``Backbone.sample``."""
    if backbone.kind != "variance_preserving":
        raise UserError(f"sampler={sampler!r} is for variance-preserving models; flow models use sampler=default")
    scheduler = make_scheduler(sampler, backbone.scheduler_config())
    scheduler.set_timesteps(num_inference_steps, device=noise.device)
    latents = noise * scheduler.init_noise_sigma
    options = {"generator": list(generators)} if generators is not None and _takes_generator(scheduler) else {}
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, timestep)
        conditional, rest = backbone.evaluate(scaled, float(timestep), conditioning, guidance_scale != 1)
        guided = backbone.guide(Branches(float(timestep), conditional, rest), guidance_scale)
        latents = scheduler.step(guided, timestep, latents, **options, return_dict=False)[0]
    return latents


def _takes_generator(scheduler: Any) -> bool:
    import inspect

    return "generator" in inspect.signature(scheduler.step).parameters
