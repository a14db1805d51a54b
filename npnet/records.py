"""The records that the parts exchange: dataclasses that state and check shapes, dtypes and ranges.

Shape letters, used everywhere: B batch, C channels, H W pixels, h w latent cells, F frames, L tokens, D embedding,
P pooled embedding. ``grid`` is (h, w) for images, (f, h, w) for video, (d, h, w) for three dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


def require_noise(noise: Tensor, name: str = "noise") -> None:
    """Check that ``noise`` is a finite floating ``(B, C, *grid)`` tensor.

    Raises:
        ValueError: it is not; the message says what was got.
    """
    if noise.ndim < 3 or not noise.is_floating_point():
        raise ValueError(f"{name} must be a floating (B, C, *grid) tensor, got {tuple(noise.shape)} {noise.dtype}")
    if not torch.isfinite(noise).all():
        raise ValueError(f"{name} holds NaN or infinity")


def require_images(images: Tensor) -> None:
    """Check that ``images`` is a floating ``(B, 3, H, W)`` tensor in [0, 1].

    Raises:
        ValueError: it is not; pictures in [-1, 1] are named as such.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"images must be a floating (B, 3, H, W) tensor, got {tuple(images.shape)} {images.dtype}")
    if images.numel() == 0:
        return
    low, high = float(images.detach().amin()), float(images.detach().amax())
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise ValueError(f"images must lie in [0, 1], got [{low:.3g}, {high:.3g}] (from [-1, 1]: use x / 2 + 0.5)")


@dataclass(frozen=True)
class Conditioning:
    """Prompts, and what a backbone's text encoders made from them. The first axis of every tensor is the batch.

    The names are those of diffusers. ``extras`` holds what only one family needs, by name, each ``(B, ...)``.
    """

    prompts: tuple[str, ...]
    prompt_embeds: Tensor  # (B, L, D)
    negative_prompt_embeds: Tensor | None = None  # (B, L, D); None: the family has no unconditional branch
    pooled_prompt_embeds: Tensor | None = None  # (B, P)
    negative_pooled_prompt_embeds: Tensor | None = None  # (B, P)
    prompt_mask: Tensor | None = None  # (B, L), 1 for real tokens
    negative_prompt_mask: Tensor | None = None  # (B, L)
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, tensor in self.tensors().items():
            if len(tensor) != len(self.prompts):
                raise ValueError(f"{name} has {len(tensor)} rows for {len(self.prompts)} prompts")

    def __len__(self) -> int:
        return len(self.prompts)

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by name; those of ``extras`` as ``extras.NAME``."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("prompts", "extras")}
        own |= {f"extras.{name}": tensor for name, tensor in self.extras.items()}
        return {name: tensor for name, tensor in own.items() if tensor is not None}

    def map(self, function: Callable[[Tensor], Tensor], prompts: Sequence[str] | None = None) -> Conditioning:
        """Apply ``function`` to every tensor; ``prompts`` replaces the prompts where the batch changes."""
        changed: dict[str, Any] = {
            name: function(tensor) for name, tensor in self.tensors().items() if not name.startswith("extras.")
        }
        extras = {name: function(tensor) for name, tensor in self.extras.items()}
        return replace(self, prompts=tuple(self.prompts if prompts is None else prompts), extras=extras, **changed)

    def __getitem__(self, index: slice | Sequence[int]) -> Conditioning:
        rows = list(range(len(self)))[index] if isinstance(index, slice) else [int(i) for i in index]
        return self.map(lambda tensor: tensor[rows], [self.prompts[i] for i in rows])

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Conditioning:
        """Move every tensor to ``device``; floating ones to ``dtype`` too."""
        return self.map(lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None))

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """Join batches of the same backbone, in order."""
        tables = [part.tensors() for part in parts]
        joined = {name: torch.cat([table[name] for table in tables]) for name in tables[0]}
        return Conditioning(
            prompts=tuple(prompt for part in parts for prompt in part.prompts),
            extras={n.removeprefix("extras."): t for n, t in joined.items() if n.startswith("extras.")},
            **{name: tensor for name, tensor in joined.items() if not name.startswith("extras.")},
        )


@dataclass(frozen=True)
class Branches:
    """The denoiser's two outputs, unmixed: epsilon or velocity, ``(B, C, *grid)`` float32.

    ``timestep`` is the level at which they were computed, so that an evaluation is never reused at another one.
    """

    timestep: float
    conditional: Tensor
    unconditional: Tensor | None = None

    def cat(self, other: Branches) -> Branches:
        """Append the samples of ``other``, computed at the same timestep."""
        if self.timestep != other.timestep or (self.unconditional is None) != (other.unconditional is None):
            raise ValueError("branches of another timestep, or without the unconditional half, cannot be joined")
        unconditional = None
        if self.unconditional is not None and other.unconditional is not None:
            unconditional = torch.cat([self.unconditional, other.unconditional])
        return Branches(self.timestep, torch.cat([self.conditional, other.conditional]), unconditional)


@dataclass(frozen=True)
class Cost:
    """What was spent, counted where it happens; a forward or backward is one sample through the denoiser."""

    forwards: int = 0
    backwards: int = 0
    scorer_calls: int = 0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.forwards - other.forwards, self.backwards - other.backwards, self.scorer_calls - other.scorer_calls
        )

    def __add__(self, other: Cost) -> Cost:
        return self - Cost(-other.forwards, -other.backwards, -other.scorer_calls)


@dataclass(frozen=True)
class TracePoint:
    """One point of a search: the best score so far, ``(B,)``, and the denoiser forwards spent on each sample."""

    score: Tensor
    forwards: float


@dataclass(frozen=True)
class Finished:
    """A finished sample: clean latents ``(B, C, *grid)`` float32, from the family's deterministic sampler.

    It keeps the settings that made it, so that it is not used for other settings.
    """

    latents: Tensor
    num_inference_steps: int
    guidance_scale: float

    def serves(self, num_inference_steps: int, guidance_scale: float) -> bool:
        """Say whether sampling with these settings would give the same latents."""
        return (self.num_inference_steps, self.guidance_scale) == (num_inference_steps, guidance_scale)


@dataclass(frozen=True)
class NoiseResult:
    """What a noise method returns.

    Attributes:
        noise: the better noise, ``(B, C, *grid)``, with the shape and dtype of the given noise.
        first_branches: the denoiser's first evaluation of the **given** noise, where the method computed it anyway.
            Sampling from the given noise can reuse it.
        trace: score against cost, where the method searches.
        finished: the sample that ``noise`` gives, bit for bit, where the method sampled from it anyway.
    """

    noise: Tensor
    first_branches: Branches | None = None
    trace: tuple[TracePoint, ...] | None = None
    finished: Finished | None = None


@dataclass(frozen=True)
class NoisePair:
    """One training sample: ``source_noise`` and ``golden_noise`` are ``(C, *grid)``.

    ``scores`` maps a metric's label to (score of the source image, score of the golden image).
    """

    key: str
    prompt: str
    seed: int
    source_noise: Tensor
    golden_noise: Tensor
    scores: dict[str, tuple[float, float]]
    kept: bool
    prompt_embeds: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        if self.source_noise.shape != self.golden_noise.shape:
            shapes = f"source_noise {tuple(self.source_noise.shape)} and golden_noise {tuple(self.golden_noise.shape)}"
            raise ValueError(f"{self.key}: {shapes} differ in shape")
