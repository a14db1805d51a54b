"""The parts of a family's pipeline, and the sizes of a checkpoint from the configurations of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from npnet.fields import Rule

Configs = Callable[[str], Mapping[str, Any]]
"""Part of a pipeline -> its configuration, empty where it is not known; of a tokenizer, ``model_max_length``."""


class PositiveMultiple(Rule):
    """A positive whole multiple of ``limit``."""

    words = "that is a positive multiple of"

    def holds(self, value: Any) -> bool:
        """See ``Rule.holds``."""
        return value > 0 and value % self.limit == 0


Side2 = Annotated[int, PositiveMultiple(2)]
Side8 = Annotated[int, PositiveMultiple(8)]
Side16 = Annotated[int, PositiveMultiple(16)]
Side32 = Annotated[int, PositiveMultiple(32)]
"""Sides of a picture in pixels: VAE factor times patch size must divide them."""


@dataclass(frozen=True)
class Layout:
    """The names of a pipeline's parts in diffusers, and facts of its published checkpoints.

    Attributes:
        pipeline: the pipeline's class in diffusers.
        denoiser_class: of its network.
        denoiser: the network's name in the pipeline.
        scheduler: the published scheduler configuration, used where the checkpoint's own is not on this machine.
        vae_classes: allowed classes of the VAE, the published one first.
        text_parts: text components that the family needs.
        optional_parts: text components that may be missing; diffusers must be told that they are none.
        patch_size: latent cells along a side of one token.
        float32_parts: components that are kept in float32.
        ays: the family's Align Your Steps, where it has them.
    """

    pipeline: str
    denoiser_class: str
    denoiser: str = "transformer"
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    vae_classes: tuple[str, ...] = ("AutoencoderKL", "AutoencoderTiny", "AsymmetricAutoencoderKL")
    text_parts: tuple[str, ...] = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    optional_parts: tuple[str, ...] = ()
    patch_size: int = 1
    float32_parts: tuple[str, ...] = ()
    ays: tuple[int, ...] | None = None

    def needed(self) -> dict[str, str | None]:
        """Return the parts that the pipeline must have, each with its class where only one will do."""
        return {self.denoiser: self.denoiser_class, "vae": None, **dict.fromkeys(self.text_parts)}


@dataclass(frozen=True)
class Facts:
    """The sizes of one checkpoint.

    Attributes:
        latent_channels: C.
        prompt_embed_dim: D.
        prompt_length: L.
        pooled_embed_dim: P; 0 where there is none.
        vae_factor: pixels of a latent cell, along a side.
        frame_factor: frames of a latent one.
        largest_side: in pixels, where the network has a limited number of positions.
        vae_channels: of the VAE, where one latent cell holds several cells of the VAE; None stands for C.
    """

    latent_channels: int
    prompt_embed_dim: int
    prompt_length: int
    pooled_embed_dim: int = 0
    vae_factor: int = 8
    frame_factor: int = 1
    largest_side: int | None = None
    vae_channels: int | None = None


def find(configs: Configs, part: str, name: str, published: Any) -> Any:
    """Return a value of a part's configuration, or the published one where it is missing."""
    value = configs(part).get(name)
    return published if value is None else value


def vae_factor(configs: Configs) -> int:
    """Return the pixels of a latent cell, along a side, of the VAEs of pictures."""
    return 2 ** (len(find(configs, "vae", "block_out_channels", (0,) * 4)) - 1)


def text_files(folder: Path) -> list[Path]:
    """Return the files that decide a pipeline's embeddings, sorted."""
    return sorted([*folder.glob("text_encoder*/*"), *folder.glob("tokenizer*/*")])
