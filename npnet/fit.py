"""Whether a network fits a backbone, and what it was trained for: asked of its ``config.json`` before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

EMBED_SIZES = ("prompt_embed_dim", "prompt_length", "pooled_embed_dim")
"""What of a prompt a network may be tied to."""
PURPOSE: Final = "trained_for"
"""Key of ``config.json``: what the pairs were made with that trained the network. Read, and never built from."""

OPTIMISED = ("selected_by", "optimised_for")
"""Keys of ``PURPOSE``: metrics that selected the pairs, and those that a loss raised, here or in its start."""


def optimised_metrics(trained_for: Any) -> list[str]:
    """Return the labels of the metrics that a network was given to improve, as ``config.json`` says."""
    found = [trained_for.get(key) for key in OPTIMISED] if isinstance(trained_for, Mapping) else []
    return [name for names in found if isinstance(names, (list, tuple)) for name in names if isinstance(name, str)]


def npnet_sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """Return what noise and embeddings must have for an NPNet of these arguments; see ``NoiseNetwork.sizes``."""
    tied = ["latent_channels"]
    if config["text_term"] != "off":
        tied.append("prompt_embed_dim")
    if config["text_term"] == "ada_group_norm":
        tied.append("prompt_length")
    if config["text_term"] == "spatial" and config["pooled_embed_dim"]:
        tied.append("pooled_embed_dim")
    return {name: config[name] for name in tied}


def misfit(
    sizes: Mapping[str, int],
    latent_shape: Sequence[int],
    embed_dims: Mapping[str, int],
    backbone: str,
    spatial_axes: int = 2,
    can_go_without_text: bool = False,
) -> str | None:
    """Say why a network cannot serve a backbone; None where it can.

    Args:
        sizes: of the network, see ``NoiseNetwork.sizes``.
        latent_shape: ``(C, *grid)`` of the backbone's noise.
        embed_dims: the backbone's sizes by the names of ``EMBED_SIZES``.
        backbone: its name, for the line.
        spatial_axes: of the network's noise: 2 for pictures, 3 for video.
        can_go_without_text: whether the network has a text term that can be switched off.
    """
    channels = sizes.get("latent_channels", latent_shape[0])
    if len(latent_shape) != 1 + spatial_axes or latent_shape[0] != channels:
        grid = ", ".join(("f", "h", "w")[-spatial_axes:])
        return f"was trained for latents ({channels}, {grid}), {backbone}'s are {tuple(latent_shape)}"
    wrong = [name for name in EMBED_SIZES if name in sizes and embed_dims.get(name, 0) != sizes[name]]
    if not wrong:
        return None
    got, there = (", ".join(f"{name} {of.get(name, 0)}" for name in wrong) for of in (sizes, embed_dims))
    without = "; without its text term it may fit (text_term=off)" if can_go_without_text else ""
    return f"was trained for {got}, {backbone} has {there}{without}"


def elsewhere(trained_for: Any, target: type, own: Mapping[str, Any]) -> str | None:
    """Say that a network was trained for another model than the one it is used with; None where it was not.

    Args:
        trained_for: what ``config.json`` says.
        target: the class of the backbone's description.
        own: the backbone's ``path`` and ``variant``, None for what it has not.
    """
    node = trained_for.get("backbone") if isinstance(trained_for, Mapping) else None
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        return None
    name, path = node["_target_"].rpartition(".")[2], node.get("path")
    variant = node.get("variant") or own.get("variant")
    if (name, path, variant) == (target.__name__, own.get("path"), own.get("variant")):
        return None
    there, here = (f" ({place})" if place else "" for place in (path or variant, own.get("path") or own.get("variant")))
    return f"was trained for {name}{there} and is used with {target.__name__}{here}"
