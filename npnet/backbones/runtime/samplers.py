"""Sampling with diffusers' schedulers and our guided prediction; ``npnet.backbones.samplers`` lists them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from npnet.backbones.runtime.scheduled import Scheduled
from npnet.backbones.samplers import SAMPLERS, SCM
from npnet.backbones.schedules import END, Schedule, Step, refused
from npnet.bounds import is_whole
from npnet.errors import reworded


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """Build the diffusers scheduler ``name`` from a family's published scheduler configuration."""
    # a key that only the published scheduler has does not apply here, and diffusers would warn about it
    taken = {key: value for key, value in config.items() if key.startswith("_") or takes(_class(name), key)}
    return _class(name).from_config(taken)


def make_schedule(name: str, schedule: Schedule, num_inference_steps: int) -> Any:
    """Build the scheduler ``name`` with its levels set, on the CPU, where its steps read them.

    Args:
        name: one of ``SAMPLERS``.
        schedule: of the model, variance-preserving.
        num_inference_steps: denoising steps.

    Raises:
        FieldError: the checkpoint's schedule has no such number of levels under this sampler.
    """
    scheduler = make_scheduler(name, schedule.published or {})
    levels = schedule.fixed_levels()
    if levels is not None:
        schedule.steps(num_inference_steps)
        scheduler.set_timesteps(timesteps=[int(level) for level in levels])
        return scheduler
    count = scheduler.config.num_train_timesteps
    most = min(count, scheduler.config.get("original_inference_steps", count))  # an LCM's: those it was distilled on
    refusal = f"sampler={name} takes 1 to {most} with this checkpoint"
    if not is_whole(num_inference_steps) or not 1 <= num_inference_steps <= most:
        raise refused(num_inference_steps, refusal)
    refuse = partial(refused, num_inference_steps)
    with reworded((ValueError, IndexError), refuse, f"{refusal}, but not this number: "):
        scheduler.set_timesteps(num_inference_steps)
    found = set(scheduler.timesteps.tolist())
    if max(found) >= count or len(found) < num_inference_steps:  # steps_offset moves the first out of the table
        raise refused(num_inference_steps, f"{refusal}, but not this number: {count} levels are too few")
    return scheduler


def sample(
    name: str,
    model: Scheduled,
    noise: Tensor,
    guided: Callable[[Tensor, float], Tensor],
    num_inference_steps: int,
    generators: Sequence[torch.Generator] | None,
) -> Tensor:
    """Denoise ``noise`` ``(B, C, *grid)`` by a sampler that the model takes; see ``run`` and ``run_scm``."""
    if name == SCM:
        return run_scm(model, noise, guided, model.steps(num_inference_steps), generators)
    return run(make_schedule(name, model.schedule(), num_inference_steps), noise, guided, generators)


def run(
    scheduler: Any,
    noise: Tensor,
    guided: Callable[[Tensor, float], Tensor],
    generators: Sequence[torch.Generator] | None,
) -> Tensor:
    """Denoise ``noise`` ``(B, C, *grid)`` with a scheduler.

    Args:
        scheduler: with its levels set.
        noise: N(0, I).
        guided: from scaled latents and their level to the network's own guided output.
        generators: one for each sample, for the stochastic ones.
    """
    latents = noise * scheduler.init_noise_sigma
    options = {"generator": list(generators)} if generators is not None and takes(scheduler.step, "generator") else {}
    for timestep in scheduler.timesteps:
        output = guided(scheduler.scale_model_input(latents, timestep), float(timestep))
        latents = scheduler.step(output, timestep, latents, **options, return_dict=False)[0]
    return latents


def run_scm(
    model: Scheduled,
    noise: Tensor,
    guided: Callable[[Tensor, float], Tensor],
    steps: Sequence[Step],
    generators: Sequence[torch.Generator] | None,
) -> Tensor:
    """Denoise ``noise`` ``(B, C, *grid)`` as a consistency model does: to the end from each level, and noised anew.

    Args:
        model: says what the levels mean.
        noise: N(0, I).
        guided: from latents and their level to the guided prediction.
        steps: of the model.
        generators: one for each sample, for the noise after the first.
    """
    latents = noise
    for here, there in steps:
        clean = model.to_x0(guided(latents, here), latents, here)
        if there == END:
            return clean
        alpha, sigma = model.coefficients(there)
        given = None if generators is None else list(generators)
        latents = alpha * clean + sigma * randn_tensor(noise.shape, generator=given, device=noise.device)
    return latents


def takes(function: Any, name: str) -> bool:
    """Say whether a function has a parameter ``name``."""
    return name in inspect.signature(function).parameters


def _class(name: str) -> Any:
    return getattr(diffusers, SAMPLERS[name])
