"""The residual branch: a Swin transformer on the noise as a picture (paper, Eq. 7: phi' psi phi (x_T + e)).

phi is ``to_trunk`` and a nearest resize to the trunk's input, psi the trunk, phi' a resize of its features to the
latents' size and ``to_latents``. The 1 x 1 convolution and the nearest resize commute, so it runs at the smaller size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import timm
import torch
from timm.models.swin_transformer import SwinTransformer, WindowAttention
from torch import Tensor, nn
from torch.nn import functional as F

from npnet.errors import reworded
from npnet.networks.arguments import FeatureLayout
from npnet.networks.sizes import nearest_index


def build_trunk(trunk: str | Mapping[str, Any]) -> nn.Module:
    """Build the trunk with random weights: a Swin transformer by timm name, or its sizes (``arguments.SwinSizes``).

    Raises:
        ValueError: timm has no such model, it is not a Swin with channels-last features, or its sizes do not fit.
    """
    if isinstance(trunk, str):
        if not timm.is_model(trunk):
            raise ValueError(f"trunk {trunk!r} is not a model of timm {timm.__version__}; see timm.list_models()")
        built = timm.create_model(trunk, pretrained=False, num_classes=0)
        if not isinstance(built, SwinTransformer):
            raise ValueError(f"trunk {trunk!r} is a {type(built).__name__}; a SwinTransformer is needed")
        return built
    kinds = (AssertionError, IndexError, RuntimeError, TypeError, ValueError, ZeroDivisionError)
    with reworded(kinds, ValueError, f"trunk {dict(trunk)} is not a valid Swin transformer: "):
        return SwinTransformer(num_classes=0, **trunk)


def load_pretrained(trunk: nn.Module, name: str) -> None:
    """Copy timm's pretrained weights of ``name`` into ``trunk``; downloads them."""
    trunk.load_state_dict(timm.create_model(name, pretrained=True, num_classes=0).state_dict())


class ResidualBranch(nn.Module):
    """Predict a residual from the noise (plus the text term) with a Swin transformer.

    Args:
        channels: C of the noise.
        latent_size: ``(h, w)`` of the noise.
        trunk: a timm Swin's name, or ``img_size``, ``patch_size``, ``embed_dim``, ``depths``, ... of one.
        feature_layout: how the trunk's features (B, H, W, F) become latents. ``official`` follows the published code,
            which passes them to NCHW operations without a permutation. So ``to_latents`` mixes H as if it were
            channels, W becomes the rows and F the columns, and the nearest resize keeps as many columns as the latents
            are wide. ``spatial`` permutes them, so that ``to_latents`` mixes all F features of a position.
        position_map: add a learnable map (C, h, w), zero at the start, to the input. A Swin only knows relative
            positions, and what AdaGroupNorm makes from a prompt is constant over space, so neither tells it the
            absolute position.
    """

    def __init__(
        self,
        channels: int,
        latent_size: Sequence[int],
        trunk: str | Mapping[str, Any],
        feature_layout: FeatureLayout = "official",
        position_map: bool = False,
    ) -> None:
        super().__init__()
        self.latent_size = (latent_size[0], latent_size[1])
        self.feature_layout = feature_layout
        self.trunk = cast(Any, build_trunk(trunk))  # a Swin's own attributes are no module's
        self.trunk_size: tuple[int, int] = tuple(self.trunk.patch_embed.img_size)
        feature_height = -(-self.trunk_size[0] // self.trunk.feature_info[-1]["reduction"])
        mixed = feature_height if feature_layout == "official" else self.trunk.num_features
        self.to_trunk = nn.Conv2d(channels, 3, 1)
        self.to_latents = nn.Conv2d(mixed, channels, 1)
        self.position = nn.Parameter(torch.zeros(channels, *self.latent_size)) if position_map else None

    def forward(self, noise: Tensor) -> Tensor:
        """Map ``(B, C, h, w)`` to a residual of the same shape."""
        if self.position is not None:
            noise = noise + self.position
        self._choose_attention()
        picture = F.interpolate(self.to_trunk(noise), size=self.trunk_size, mode="nearest")
        return self.read(self.trunk.forward_features(picture))

    def _choose_attention(self) -> None:
        """Use fused attention in the trunk for inference alone.

        timm leaves it off for Swin. On a CPU it is 1.0 to 1.3 times as fast without gradients, depending on the
        processor. With gradients it is not faster, because the position bias, which is passed as a mask, then needs a
        gradient. The choice is made at every call: a trainer may set ``training`` without calling ``train()``, and a
        resumed run must compute the same as an undisturbed one.
        """
        for module in self.trunk.modules():
            if isinstance(module, WindowAttention):
                module.fused_attn = not self.training  # type: ignore[misc]  # final for TorchScript alone

    def read(self, features: Tensor) -> Tensor:
        """Turn the trunk's features ``(B, H, W, F)`` into latents ``(B, C, h, w)``."""
        height, width = self.latent_size
        if self.feature_layout == "spatial":
            latents = self.to_latents(features.permute(0, 3, 1, 2))
            return F.interpolate(latents, size=(height, width), mode="bilinear", align_corners=False)
        # only the columns that the resize keeps enter the convolution; rows are repeated after it
        columns = nearest_index(features.shape[-1], width, features.device)
        rows = nearest_index(features.shape[-2], height, features.device)
        return self.to_latents(features[..., columns])[:, :, rows]
