"""Exact models for laws in numbers: the fake backbone, with a decoder that is linear too."""

from dataclasses import dataclass

import torch

from npnet.backbones import CAPABILITIES
from tests import fakes

PROMPTS = ["a cat", "two dogs"]
PIXELS = 0.02
"""Pixel values are 0.5 + PIXELS times the latents, far from the ends of [0, 1]."""


class LoadedLinear(fakes.LoadedLinear):
    def decode(self, latents):
        return 0.5 + PIXELS * latents[:, :3]


@dataclass(frozen=True)
class Linear(fakes.LinearBackbone):
    runtime = LoadedLinear
    capabilities = frozenset(CAPABILITIES) - {"cross_attention_maps"}


def of_kind(kind="variance_preserving"):
    return Linear(kind, device="cpu").load()


def sampler_gain(backbone, num_inference_steps):
    """c of z_0 = c z + constants, where the predictions are held."""
    gain = 1.0
    for here, there in backbone.steps(num_inference_steps):
        gain *= backbone.step_coefficients(here, there)[0]
    return gain


def noise_of(backbone, seeds=(1, 2), dtype=torch.float32):
    from npnet import seeding

    return seeding.source_noises(seeds, backbone.latent_shape()).to(dtype)
