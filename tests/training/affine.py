"""The smallest network that moves noise: one scale and one shift, and a linear map for laws about Jacobians."""

import torch
from torch import Tensor, nn

from npnet.networks import NoiseNetwork


class Affine(NoiseNetwork):
    """scale * noise + shift + tilt times the prompt's mean token."""

    def __init__(self, latent_channels: int = 4, prompt_embed_dim: int = 64) -> None:
        super().__init__({"latent_channels": latent_channels, "prompt_embed_dim": prompt_embed_dim})
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.zeros(latent_channels, 1, 1))
        self.tilt = nn.Parameter(torch.tensor(0.0))

    def forward(
        self,
        noise: Tensor,
        prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        said = prompt_embeds.mean((1, 2)).view(-1, 1, 1, 1)
        return self.scale * noise + self.shift + self.tilt * said
