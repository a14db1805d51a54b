"""All random draws of the project: no other module draws random numbers.

Source noise depends on its seed alone. Every other draw comes from a stream named ``(seed, purpose)``, so two purposes
never share numbers and the order in which samples are computed never matters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from npnet.bounds import MAX_SEED


def source_noise(seed: int, shape: Sequence[int]) -> torch.Tensor:
    """Draw the source noise of one sample.

    The numbers are those diffusers draws for ``generator=torch.Generator("cpu").manual_seed(seed)`` in float32.

    Args:
        seed: the sample's seed, >= 0.
        shape: ``(C, *grid)``.

    Returns:
        ``(C, *grid)`` float32 on the CPU, N(0, 1).
    """
    return torch.randn(tuple(shape), generator=torch.Generator("cpu").manual_seed(seed), dtype=torch.float32)


def source_noises(seeds: Sequence[int], shape: Sequence[int]) -> torch.Tensor:
    """Stack the source noise of each seed: ``(B, C, *grid)`` float32 on the CPU."""
    return torch.stack([source_noise(seed, shape) for seed in seeds])


def named_seed(seed: int, *purpose: object) -> int:
    """Derive a seed in [0, 2**63) from ``seed`` and the words of a purpose; stable across machines and versions."""
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") & MAX_SEED


def stream(seed: int, *purpose: object) -> torch.Generator:
    """Return the CPU generator of the stream ``(seed, purpose)``."""
    return torch.Generator("cpu").manual_seed(named_seed(seed, *purpose))


def streams(seeds: Sequence[int], *purpose: object) -> list[torch.Generator]:
    """Return one generator for each sample, so that a draw never depends on the rest of the batch."""
    return [stream(seed, *purpose) for seed in seeds]


def randn_like(noise: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Draw N(0, 1) of the shape, dtype and device of ``noise`` ``(B, C, *grid)``, one generator for each sample."""
    if len(generators) != len(noise):
        raise ValueError(f"got {len(generators)} generators for a batch of {len(noise)}: one for each sample is needed")
    rows = [torch.randn(noise.shape[1:], generator=g, dtype=torch.float32) for g in generators]
    return torch.stack(rows).to(device=noise.device, dtype=noise.dtype)


def prompt_seeds(prompt: str, seed: int, low: int, high: int, count: int) -> list[int]:
    """Draw the seeds of a prompt: ``count`` distinct integers in [low, high], from the prompt's text and ``seed``.

    The paper draws training seeds from [0, 1024] and test seeds from [0, 100].

    Raises:
        ValueError: the range holds fewer than ``count`` seeds, or starts below 0.
    """
    if low < 0 or high - low + 1 < count:
        raise ValueError(f"seeds.range=[{low},{high}] cannot give {count} distinct seeds >= 0 for each prompt")
    generator = stream(seed, "seeds of a prompt", prompt)
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen[int(torch.randint(low, high + 1, (), generator=generator))] = None
    return list(chosen)
