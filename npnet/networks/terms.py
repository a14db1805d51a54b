"""The terms of equation 9 that an NPNet's arguments ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from npnet.description import imported
from npnet.networks import svd
from npnet.networks.arguments import WITHOUT, is_unet
from npnet.networks.text import AdaGroupNormText, SpatialText
from npnet.networks.unet import UNetBranch

if TYPE_CHECKING:
    from npnet.networks.residual import ResidualBranch


def text_term(c: Mapping[str, Any]) -> AdaGroupNormText | SpatialText | None:
    """Build the text term; None where there is none."""
    if c["text_term"] == "ada_group_norm":
        return AdaGroupNormText(c["latent_channels"], c["prompt_length"], c["prompt_embed_dim"])
    if c["text_term"] == "spatial":
        return SpatialText(c["latent_channels"], c["prompt_embed_dim"], c["pooled_embed_dim"])
    return None


def singular_value_branch(c: Mapping[str, Any]) -> svd.SingularValueBranch | None:
    """Build the branch of equation 6; None where there is none."""
    if c["singular_value_branch"] in WITHOUT:
        return None
    attends = c["singular_value_branch"] == "attention"
    return svd.SingularValueBranch(c["latent_channels"], c["latent_size"], attends)


def residual_branch(c: Mapping[str, Any]) -> ResidualBranch | UNetBranch | None:
    """Build the branch of equation 7; None where there is none."""
    if not c["residual_branch"]:
        return None
    if is_unet(c["trunk"]):
        return UNetBranch(c["latent_channels"], **c["trunk"])
    branch = imported("npnet.networks.residual:ResidualBranch")  # timm is slow to import, and a U-Net needs none
    return branch(c["latent_channels"], c["latent_size"], c["trunk"], c["feature_layout"], c["position_map"])
