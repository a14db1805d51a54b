"""A text-to-3D model plugged in from outside: what a user of TRELLIS writes, with a tiny network in its place.

TRELLIS's first stage is flow matching on an ``(8, 16, 16, 16)`` grid: x_t = (1 - t) x_0 + t epsilon, velocity
epsilon - x_0, times ``t = r s / (1 + (r - 1) s)`` for s from 1 to 0 (its ``rescale_t``), and its network is told
1000 t. So it inherits ``FlowMatching`` and writes the seven functions below; a YAML names it:

    _target_: my_package.Voxels
    settings:
      guidance_scale: 7.5
      inversion_guidance_scale: 1.0
      num_inference_steps: {collect: 10, evaluate: 12}

There is no ``decode``: a picture needs a renderer, so scoring does too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from npnet.backbones import FlowMatching
from npnet.errors import UserError
from npnet.records import Conditioning

TOKENS, WIDTH = 4, 8


class Denoiser(nn.Module):
    """Stands for TRELLIS's sparse-structure transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(8, 16, 3, padding=1)
        self.last = nn.Conv3d(16, 8, 3, padding=1)
        self.told = nn.Linear(WIDTH + 1, 16)

    def forward(self, latents: Tensor, timestep: Tensor, embeds: Tensor) -> Tensor:
        told = self.told(torch.cat([embeds.mean(1), timestep[:, None] / 1000], dim=1))
        return self.last(torch.tanh(self.first(latents) + told[:, :, None, None, None]))


class Voxels(FlowMatching):
    capabilities = frozenset({"unconditional_branch"})

    def __init__(
        self,
        path: str | None = None,
        rescale: float = 3.0,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        super().__init__(settings, device, dtype)
        self.rescale = rescale

    def check(self) -> None:
        self.check_schedule()

    def load(self) -> Self:
        torch.manual_seed(0)
        self.denoiser = Denoiser().requires_grad_(False).to(self.device, self.dtype)
        return self

    def latent_shape(self, height: int | None = None, width: int | None = None) -> tuple[int, ...]:
        return (8, 4, 4, 6)

    def embed_dims(self) -> dict[str, int]:
        return {"prompt_embed_dim": WIDTH, "prompt_length": TOKENS, "pooled_embed_dim": 0}

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        rows = []
        for prompt in prompts:
            seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
            rows.append(torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed)))
        embeds = torch.stack(rows).to(self.device)
        return Conditioning(tuple(prompts), embeds, torch.zeros_like(embeds))

    def sigmas(self, num_inference_steps: int) -> list[float]:
        times = [1 - step / num_inference_steps for step in range(num_inference_steps)]
        return [self.rescale * t / (1 + (self.rescale - 1) * t) for t in times]

    def model_output(self, latents: Tensor, label: float, conditioning: Conditioning, unconditional: bool) -> Tensor:
        c = conditioning.to(self.device, self.dtype)
        embeds = torch.cat([c.negative_prompt_embeds, c.prompt_embeds]) if unconditional else c.prompt_embeds
        latents = torch.cat([latents, latents]) if unconditional else latents
        timestep = torch.full((len(latents),), label, device=self.device, dtype=self.dtype)
        return self.denoiser(latents.to(self.dtype), timestep, embeds).float()

    def decode(self, latents: Tensor) -> Tensor:
        raise UserError("Voxels has no pictures: give a renderer")
