"""Training of the scorer: pictures against captions, on drawn scenes of all prompts."""

import torch

from npnet.shapes.grammar import scenes
from npnet.shapes.scenes import draw
from npnet.shapes.scorer import ShapesScorer
from npnet.shapes.towers import contrastive_loss
from npnet.shapes.training import Progress, caption_batch, learning_rate, seed_for, set_learning_rate, stream
from npnet.shapes.variants import Variant

__all__ = ["train_scorer"]

BATCH, NEGATIVES = 96, 4
SCALE = 16.0
"""Inverse temperature, fixed and mild, so that scores stay spread out below 1."""
PEAK_LEARNING_RATE = 1.5e-3
NOISE = 0.06
"""Largest standard deviation of the noise on a picture: generated ones are not as clean as drawn ones."""


def train_scorer(variant: Variant) -> ShapesScorer:
    """Train a scorer from the variant's seed; the generator, judge and text encoders have no part in it."""
    torch.manual_seed(seed_for(variant, "scorer weights"))
    scorer = ShapesScorer()
    optimizer = torch.optim.AdamW(scorer.parameters(), weight_decay=0.01)
    meanings = sorted({scene.meaning() for scene in scenes()})
    allowed = set(meanings)
    generator = stream(variant, "scorer data")
    progress = Progress("scorer", variant.scorer_steps)
    for step in range(variant.scorer_steps):
        chosen, negatives = caption_batch(meanings, BATCH, NEGATIVES, generator, allowed)
        images = draw(chosen, generator)
        strength = NOISE * torch.rand(BATCH, 1, 1, 1, generator=generator)
        images = (images + strength * torch.randn(images.shape, generator=generator)).clamp(0, 1)
        captions = scorer.embed_scenes(chosen + negatives)
        loss = contrastive_loss(
            scorer.embed_images(images), captions[:BATCH], captions[BATCH:].unflatten(0, (BATCH, NEGATIVES)), SCALE
        )
        set_learning_rate(optimizer, learning_rate(step, variant.scorer_steps, PEAK_LEARNING_RATE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress(step + 1, f"loss {loss.item():.3f}")
    return scorer.eval().requires_grad_(False)
