"""Measurements of the Shapes models: shares with their counts and Wilson 95 % intervals."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from npnet.shapes.grammar import Scene, hard_negatives, parse
from npnet.shapes.judge import judge
from npnet.shapes.kinds import Autoencoder, Pipeline
from npnet.shapes.sampling import draw_noise, sample
from npnet.shapes.scenes import draw
from npnet.shapes.scorer import ShapesScorer
from npnet.shapes.train_text import TextEncoders

__all__ = [
    "measure_autoencoder",
    "measure_generator",
    "measure_scorer",
    "measure_text_encoders",
    "share",
    "wilson_interval",
]

Z = 1.959964


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    centre = (successes + Z**2 / 2) / (count + Z**2)
    half = Z / (count + Z**2) * math.sqrt(successes * (count - successes) / count + Z**2 / 4)
    return centre - half, centre + half


def share(outcomes: Tensor) -> dict[str, Any]:
    """Return ``share``, ``count`` and ``interval`` of (N,) bool."""
    successes, count = int(outcomes.sum()), len(outcomes)
    low, high = wilson_interval(successes, count)
    return {"share": round(successes / count, 4), "interval": [round(low, 4), round(high, 4)], "count": count}


def repeat_to(prompts: Sequence[str], count: int, generator: torch.Generator) -> list[str]:
    """Return ``count`` prompts, each used as often as any other or once less, which ones at random."""
    chosen: list[str] = []
    while len(chosen) < count:
        chosen += [prompts[i] for i in torch.randperm(len(prompts), generator=generator).tolist()]
    return chosen[:count]


@torch.no_grad()
def measure_autoencoder(
    vae: Autoencoder, prompts: Sequence[str], count: int, generator: torch.Generator
) -> dict[str, Any]:
    """Return the peak signal-to-noise ratio in decibels, and the judge on drawn pictures before and after."""
    texts = repeat_to(prompts, count, generator)
    images = draw([parse(text) for text in texts], generator)
    latents = torch.cat([vae.encode(2 * chunk - 1).latent_dist.mode() for chunk in images.split(128)])
    decoded = torch.cat([vae.decode(chunk).sample for chunk in latents.split(128)])
    decoded = (decoded / 2 + 0.5).clamp(0, 1)
    errors = (decoded - images).square().mean((1, 2, 3))
    return {
        "psnr_decibels": round(-10 * errors.log10().mean().item(), 2),
        "judge_on_drawn": share(judge(images, texts).all_correct),
        "judge_on_reconstructed": share(judge(decoded, texts).all_correct),
        "scaled_latent_std": round((latents * vae.config.scaling_factor).std().item(), 3),
    }


def _drawn_with_negatives(
    prompts: Sequence[str], count: int, generator: torch.Generator
) -> tuple[Tensor, list[Scene], list[Scene]]:
    scenes = [parse(text) for text in repeat_to(prompts, count, generator)]
    options = [hard_negatives(scene) for scene in scenes]
    negatives = [one[int(torch.randint(len(one), (), generator=generator))] for one in options]
    return draw(scenes, generator), scenes, negatives


@torch.no_grad()
def measure_scorer(
    scorer: ShapesScorer, prompts: Sequence[str], count: int, generator: torch.Generator
) -> dict[str, Any]:
    """Return how often a drawn picture's caption scores above a random hard negative, and both mean scores."""
    images, scenes, negatives = _drawn_with_negatives(prompts, count, generator)
    embedded = scorer.embed_images(images)
    right = (embedded * scorer.embed_scenes(scenes)).sum(1)
    wrong = (embedded * scorer.embed_scenes(negatives)).sum(1)
    return {
        "caption_above_hard_negative": share(right > wrong),
        "mean_score_of_caption": round(right.mean().item(), 4),
        "mean_score_of_hard_negative": round(wrong.mean().item(), 4),
    }


@torch.no_grad()
def measure_text_encoders(
    encoders: TextEncoders, prompts: Sequence[str], count: int, generator: torch.Generator
) -> dict[str, Any]:
    """Return, for each of a prompt's three readings, how often the caption is nearer than a random hard negative."""
    images, scenes, negatives = _drawn_with_negatives(prompts, count, generator)
    embedded = encoders.images(images)
    right = (embedded * encoders.embed(scenes)).sum(2)
    wrong = (embedded * encoders.embed(negatives)).sum(2)
    names = ("first_pooled", "second_pooled", "prompt_embeds")
    return {name: share(r > w) for name, r, w in zip(names, right, wrong, strict=True)}


def measure_generator(
    pipeline: Pipeline,
    scorer: ShapesScorer,
    prompts: Sequence[str],
    count: int,
    generator: torch.Generator,
    num_inference_steps: int,
    guidance_scale: float,
) -> dict[str, Any]:
    """Return the judge's verdict on sampled pictures, part by part, and the scorer's mean."""
    texts = repeat_to(prompts, count, generator)
    images = sample(pipeline, draw_noise(count, generator), texts, num_inference_steps, guidance_scale)
    verdict = judge(images, texts)
    return {
        **share(verdict.all_correct),
        "parts": {
            part: round(getattr(verdict, part).float().mean().item(), 4) for part in ("colours", "shapes", "relation")
        },
        "mean_score": round(scorer.score(images, texts).mean().item(), 4),
    }
