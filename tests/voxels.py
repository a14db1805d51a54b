"""A text-to-3D model plugged in from outside: what a user of TRELLIS writes, with a tiny network in its place.

TRELLIS's first stage is flow matching on an ``(8, 16, 16, 16)`` grid: x_t = (1 - t) x_0 + t epsilon, velocity
epsilon - x_0, times ``t = r s / (1 + (r - 1) s)`` for s from 1 to 0 (its ``rescale_t``), and its network is told
1000 t. So its description states a ``FlowSchedule`` and two sizes, its runtime is a text encoder and a denoiser, one
function each; a YAML names the description:

    _target_: my_package.Voxels
    settings:
      guidance_scale: 7.5
      inversion_guidance_scale: 1.0
      num_inference_steps: {collect: 10, evaluate: 12}

There is no decoder: a picture needs a renderer, so scoring does too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from npnet.backbones import Backbone, FlowSchedule, Schedule
from npnet.backbones.runtime.devices import placement
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.backbones.runtime.parts import Denoiser, TextEncoder
from npnet.fields import Positive
from npnet.records import Conditioning

TOKENS, WIDTH = 4, 8


class Transformer(nn.Module):
    """Stands for TRELLIS's sparse-structure transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(8, 16, 3, padding=1)
        self.last = nn.Conv3d(16, 8, 3, padding=1)
        self.told = nn.Linear(WIDTH + 1, 16)

    def forward(self, latents: Tensor, timestep: Tensor, embeds: Tensor) -> Tensor:
        told = self.told(torch.cat([embeds.mean(1), timestep[:, None] / 1000], dim=1))
        return self.last(torch.tanh(self.first(latents) + told[:, :, None, None, None]))


class VoxelText(TextEncoder):
    """Stands for TRELLIS's CLIP: random rows that depend on the prompt alone."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        rows = []
        for prompt in prompts:
            seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
            rows.append(torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed)))
        embeds = torch.stack(rows).to(self.device)
        return Conditioning(tuple(prompts), embeds, torch.zeros_like(embeds))


class VoxelDenoiser(Denoiser):
    def denoise(self, latents: Tensor, label: float, inputs: Mapping[str, Tensor]) -> Tensor:
        timestep = torch.full((len(latents),), label, device=self.device, dtype=self.dtype)
        return self.module(latents, timestep, inputs["prompt_embeds"])


class LoadedVoxels(LoadedBackbone):
    def __init__(self, description: Voxels, device: str | None = None) -> None:
        place, dtype = placement(description, device)
        torch.manual_seed(0)
        network = Transformer().requires_grad_(False).to(place, dtype)
        super().__init__(description, VoxelText(place), VoxelDenoiser(network, place, dtype), device=place, dtype=dtype)


@dataclass(frozen=True)
class Voxels(Backbone):
    kind: ClassVar[str] = "flow"
    capabilities: ClassVar[frozenset[str]] = frozenset({"unconditional_branch"})
    runtime: ClassVar[type | str] = LoadedVoxels

    path: str | None = None
    rescale: Positive = 3.0

    def schedule(self) -> Schedule:
        return FlowSchedule(self.sigmas)

    def sigmas(self, num_inference_steps: int) -> list[float]:
        times = [1 - step / num_inference_steps for step in range(num_inference_steps)]
        return [self.rescale * t / (1 + (self.rescale - 1) * t) for t in times]

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        return (8, 4, 4, 6)

    def embed_dims(self) -> dict[str, int]:
        return {"prompt_embed_dim": WIDTH, "prompt_length": TOKENS, "pooled_embed_dim": 0}
