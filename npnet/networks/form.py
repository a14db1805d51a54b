"""The form of an NPNet: its constructor's arguments, checked, and the parts that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from npnet.errors import under
from npnet.fields import check_arguments, from_mapping
from npnet.networks import residual, svd
from npnet.networks.text import AdaGroupNormText, SpatialText
from npnet.networks.unet import UNET, UNetBranch, UNetSizes, is_unet, unet_for

WITHOUT = ("off", "left_out")
"""Forms of a network without a singular-value branch: with the noise in its place, and with nothing there."""


def checked_arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments ``given`` to the constructor, as plain values.

    Raises:
        FieldError: names the argument that may not be.
        ValueError: nothing is left to learn.
    """
    given = dict(given)
    if given["trunk"] == UNET:
        given["trunk"] = unet_for(given["latent_size"])
    for name in ("text_term", "singular_value_branch"):
        if given[name] is None or given[name] is False:  # YAML reads a bare ``off`` as False
            given[name] = "off"
    c = check_arguments(function, given)
    trunk, size = given["trunk"], given["latent_size"]
    if isinstance(trunk, Mapping):
        with under("trunk"):
            from_mapping(UNetSizes if is_unet(trunk) else residual.SwinSizes, trunk)
    branch = c["singular_value_branch"] in WITHOUT
    if branch and (c["text_term"], c["residual_branch"]) == ("off", False):
        raise ValueError("text_term, singular_value_branch and residual_branch are all off: nothing is left to learn")
    c["latent_size"] = [size] * 2 if isinstance(size, int) else list(size)
    c["trunk"] = trunk if isinstance(trunk, str) else residual.plain_sizes(trunk)
    return c


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


def residual_branch(c: Mapping[str, Any]) -> residual.ResidualBranch | UNetBranch | None:
    """Build the branch of equation 7; None where there is none."""
    if not c["residual_branch"]:
        return None
    if is_unet(c["trunk"]):
        return UNetBranch(c["latent_channels"], **c["trunk"])
    return residual.ResidualBranch(
        c["latent_channels"], c["latent_size"], c["trunk"], c["feature_layout"], c["position_map"]
    )
