"""Gradients with respect to noise or latents: of a score, and through all steps of a few-step sampler.

A gradient is computed at a detached tensor and then passed on, so that two graphs are never in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.runtime.search import per_sample
from npnet.records import Conditioning


def gradient_at(point: Tensor, aim: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return what ``aim`` says of ``point`` and the gradient of what it raises, one for each sample.

    Args:
        point: ``(B, ...)``; what made it is left alone.
        aim: ``(B, ...)`` to two ``(B,)``: what is told, and what is raised. Samples must not depend on one another.

    Returns:
        What is told, detached, and the gradient, ``(B, ...)``.
    """
    with torch.enable_grad():
        leaf = point.detach().requires_grad_()
        told, raised = aim(leaf)
        (gradient,) = torch.autograd.grad(raised.sum(), leaf)
    return told.detach(), gradient


def clip_gradient(gradient: Tensor, limit: float) -> Tensor:
    """Cut each sample's gradient to a norm of at most ``limit``; 0 where it is not finite."""
    norm = gradient.flatten(1).norm(dim=1)
    scale = torch.where(norm.isfinite(), (limit / norm.clamp_min(1e-30)).clamp_max(1.0), 0.0)
    return torch.nan_to_num(gradient, 0.0, 0.0, 0.0) * per_sample(scale, gradient)


def sample_in_graph(
    backbone: LoadedBackbone,
    noise: Tensor,
    conditioning: Conditioning,
    num_inference_steps: int,
    guidance_scale: float,
    evaluations: int | None = None,
    recompute: bool = True,
) -> Tensor:
    """Sample as ``LoadedBackbone.sample`` does by default, bit for bit, with a graph that fits into memory.

    Args:
        backbone: loaded.
        noise: ``(B, C, *grid)``.
        conditioning: of the B prompts.
        num_inference_steps: of the sampler.
        guidance_scale: diffusers convention.
        evaluations: the gradient goes through the first so many evaluations of the denoiser, later predictions count
            as constants; None: through all.
        recompute: hold the latents of each step only and evaluate the denoiser again on the way back; False holds all
            of its activations.

    Returns:
        Clean latents ``(B, C, *grid)`` float32.
    """
    latents = noise.to(backbone.device, torch.float32)
    conditioning = backbone.with_guidance(conditioning, guidance_scale)
    for index, (here, there) in enumerate(backbone.steps(num_inference_steps)):
        predict = partial(_predict, backbone, conditioning, here, guidance_scale)
        if evaluations is not None and index >= evaluations:
            with torch.no_grad():
                noise_pred = predict(latents)
        elif recompute:
            noise_pred = checkpoint(predict, latents, use_reentrant=False, preserve_rng_state=False)
        else:
            noise_pred = predict(latents)
        latents = backbone.move(latents, noise_pred, here, there)
    return latents


def _predict(
    backbone: LoadedBackbone, conditioning: Conditioning, timestep: float, guidance_scale: float, latents: Tensor
) -> Tensor:
    branches = backbone.predict_branches(latents, timestep, conditioning, unconditional=guidance_scale != 1)
    return backbone.guide(branches, guidance_scale)
