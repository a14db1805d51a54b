"""Exact models for laws in numbers: the fake backbone, with a decoder that is linear too."""

import torch

from tests import fakes

PROMPTS = ["a cat", "two dogs"]
PIXELS = 0.02
"""Pixel values are 0.5 + PIXELS times the latents, far from the ends of [0, 1]."""


class Linear(fakes.LinearBackbone):
    def decode(self, latents):
        return 0.5 + PIXELS * latents[:, :3]


def of_kind(kind="variance_preserving"):
    backbone = Linear(kind, device="cpu")
    backbone.capabilities = backbone.capabilities - {"cross_attention_maps"}
    return backbone


def sampler_gain(backbone, num_inference_steps):
    """c of z_0 = c z + constants, where the predictions are held."""
    gain = 1.0
    for here, there in backbone.steps(num_inference_steps):
        gain *= backbone.step_coefficients(here, there)[0]
    return gain


def noise_of(backbone, seeds=(1, 2), dtype=torch.float32):
    from npnet import seeding

    return seeding.source_noises(seeds, backbone.latent_shape()).to(dtype)
