"""Checks of a network's inputs; an error says in one line what was given and what is expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from npnet.records import require_noise


def check_noise(noise: Tensor, channels: int) -> None:
    """Check that ``noise`` is a finite floating ``(B, channels, h, w)`` tensor.

    Raises:
        ValueError: it is not.
    """
    require_noise(noise)
    if noise.ndim != 4 or noise.shape[1] != channels:
        raise ValueError(f"noise must be a (B, {channels}, h, w) tensor for this network, got {tuple(noise.shape)}")
    if not noise.numel():
        raise ValueError(f"noise is empty, got {tuple(noise.shape)}")


def check_prompt(
    config: Mapping[str, Any],
    batch: int,
    prompt_embeds: Tensor | None,
    pooled_prompt_embeds: Tensor | None,
    prompt_mask: Tensor | None,
) -> None:
    """Check the prompt embeddings for a ``batch`` of noise.

    Raises:
        ValueError: embeddings are missing, are of another width or length, or do not have a row for each sample.
    """
    text_term = config["text_term"]
    if text_term == "off":
        return
    spatial = text_term == "spatial"
    length = "L" if spatial else config["prompt_length"]
    wanted = f"({batch}, {length}, {config['prompt_embed_dim']}) for this network and noise"
    if prompt_embeds is None:
        raise ValueError(f"prompt_embeds {wanted} are needed; only a network with text_term=off does without")
    shape = tuple(prompt_embeds.shape)
    fits = len(shape) == 3 and shape[0] == batch and shape[2] == config["prompt_embed_dim"]
    if not fits or not (spatial or shape[1] == length):
        raise ValueError(f"prompt_embeds must be {wanted}, got {shape}")
    if not prompt_embeds.is_floating_point():
        raise ValueError(f"prompt_embeds must be floating, got {prompt_embeds.dtype}")
    if not spatial:
        return
    pooled_width = config["pooled_embed_dim"]
    if pooled_width:
        got = None if pooled_prompt_embeds is None else tuple(pooled_prompt_embeds.shape)
        if got != (batch, pooled_width):
            raise ValueError(f"pooled_prompt_embeds must be ({batch}, {pooled_width}) for this network, got {got}")
    if prompt_mask is not None and tuple(prompt_mask.shape) != shape[:2]:
        raise ValueError(f"prompt_mask must be {shape[:2]} like the tokens, got {tuple(prompt_mask.shape)}")


def check_decomposition(
    parts: Sequence[Tensor], noise: Tensor, trained_size: Sequence[int], matrix: Sequence[int]
) -> None:
    """Check that ``parts`` (U, S, Vh) can be the thin SVD of ``noise``, laid out as a matrix of shape ``matrix``.

    Raises:
        ValueError: shapes differ, or the noise has another size than the trained one, so that each window needs its own
            SVD.
    """
    if list(noise.shape[-2:]) != list(trained_size):
        here, there = tuple(noise.shape[-2:]), tuple(trained_size)
        raise ValueError(f"a decomposition can be given only for noise of the trained size {there}, got {here}")
    rows, columns = matrix
    batch, rank = len(noise), min(matrix)
    expected = [(batch, rows, rank), (batch, rank), (batch, rank, columns)]
    got = [tuple(part.shape) for part in parts]
    if got != expected:
        raise ValueError(f"decomposition must be U, S, Vh of shapes {expected} for this noise, got {got}")


def differences(expected: Mapping[str, tuple[int, ...]], got: Mapping[str, tuple[int, ...]], most: int = 3) -> str:
    """Describe how the keys and shapes ``got`` differ from those ``expected``; empty where they do not."""
    faults = [f"missing {name}" for name in expected if name not in got]
    faults += [f"unknown {name}" for name in got if name not in expected]
    both = [name for name in expected if name in got and expected[name] != got[name]]
    faults += [f"{name} has shape {got[name]}, expected {expected[name]}" for name in both]
    more = f"; and {len(faults) - most} more" if len(faults) > most else ""
    return "; ".join(faults[:most]) + more
