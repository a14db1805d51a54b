"""Batched sampling of the Shapes pipeline: what its own call does, without its cost for each picture."""

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.shapes import IMAGE_SIZE, LATENT_CHANNELS, LATENT_SIZE
from npnet.shapes.kinds import Pipeline

__all__ = ["draw_noise", "encode_prompts", "sample", "time_ids"]


def draw_noise(count: int, generator: torch.Generator) -> Tensor:
    """Return initial noise (count, 4, 16, 16) ~ N(0, I)."""
    return torch.randn(count, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE, generator=generator)


def time_ids(count: int) -> Tensor:
    """Return SDXL's size conditioning (count, 6): original size, crop corner, target size, in pixels."""
    return torch.tensor([[IMAGE_SIZE, IMAGE_SIZE, 0, 0, IMAGE_SIZE, IMAGE_SIZE]]).expand(count, -1).float()


@torch.no_grad()
def encode_prompts(pipeline: Pipeline, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return prompt embeddings (B, 16, D) and pooled ones (B, D / 2); those of the empty negative prompt are zeros."""
    embeds, _, pooled, _ = pipeline.encode_prompt(list(prompts), device="cpu", do_classifier_free_guidance=False)
    return embeds, pooled


@torch.no_grad()
def sample(
    pipeline: Pipeline,
    noise: Tensor,
    prompts: Sequence[str],
    num_inference_steps: int = 10,
    guidance_scale: float = 5.5,
    batch_size: int = 64,
) -> Tensor:
    """Return pictures (B, 3, 32, 32) in [0, 1] from initial noise (B, 4, 16, 16), by guided deterministic DDIM."""
    batches = zip(noise.split(batch_size), _split(prompts, batch_size), strict=True)
    return torch.cat([_sample(pipeline, x, texts, num_inference_steps, guidance_scale) for x, texts in batches])


def _split(prompts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [prompts[start : start + size] for start in range(0, len(prompts), size)]


def _sample(pipeline: Pipeline, noise: Tensor, prompts: Sequence[str], steps: int, guidance_scale: float) -> Tensor:
    embeds, pooled = encode_prompts(pipeline, prompts)
    states = torch.cat([torch.zeros_like(embeds), embeds])
    added = {"text_embeds": torch.cat([torch.zeros_like(pooled), pooled]), "time_ids": time_ids(2 * len(noise))}
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(steps)
    latents = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        inputs = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
        output = pipeline.unet(inputs, timestep, encoder_hidden_states=states, added_cond_kwargs=added).sample
        unconditional, conditional = output.chunk(2)
        noise_pred = unconditional + guidance_scale * (conditional - unconditional)
        latents = scheduler.step(noise_pred, timestep, latents).prev_sample
    images = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    return (images / 2 + 0.5).clamp(0, 1)
