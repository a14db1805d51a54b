"""A network of one's own, as somebody outside the project writes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from npnet.networks import NoiseNetwork


class Shift(NoiseNetwork):
    """Add to the noise a linear map of the mean token."""

    def __init__(self, latent_channels: int = 4, prompt_embed_dim: int = 6, scale: float = 1.0) -> None:
        super().__init__({"latent_channels": latent_channels, "prompt_embed_dim": prompt_embed_dim, "scale": scale})
        self.scale = scale
        self.shift = nn.Linear(prompt_embed_dim, latent_channels)

    def forward(
        self,
        noise: Tensor,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        wanted = (self.config["latent_channels"], self.config["prompt_embed_dim"])
        if prompt_embeds is None or (noise.shape[1], prompt_embeds.shape[-1]) != wanted:
            raise ValueError(f"noise and prompt_embeds of {wanted} channels are needed")
        mean = prompt_embeds.to(self.shift.weight.dtype).mean(1)
        return noise + self.scale * self.shift(mean)[..., None, None].to(noise.dtype)


class Mirrored(NoiseNetwork):
    """No prompt, and a decomposition of its own: the mean and the rest."""

    def __init__(self, latent_channels: int = 4) -> None:
        super().__init__({"latent_channels": latent_channels})
        self.gate = nn.Parameter(torch.ones(1))

    @classmethod
    def reads_prompt(cls, arguments):
        return False

    def decomposer(self):
        return split

    def gates(self):
        return {"gate": self.gate}

    def forward(
        self, noise, prompt_embeds=None, pooled_prompt_embeds=None, prompt_mask=None, decomposition=None
    ) -> Tensor:
        if noise.shape[1] != self.config["latent_channels"]:
            raise ValueError(f"noise must have {self.config['latent_channels']} channels")
        mean, rest = split(noise) if decomposition is None else decomposition
        return (self.gate * mean + rest).to(noise.dtype)


def split(noise: Tensor) -> tuple[Tensor, Tensor]:
    mean = noise.mean((2, 3), keepdim=True)
    return mean, noise - mean


class NotANetwork(nn.Module):
    """A module that does not keep the contract."""
