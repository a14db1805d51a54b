"""The arguments of an NPNet, checked without torch: the keys of its YAML and of a stored ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from npnet.bounds import MultipleOf, Number
from npnet.errors import FieldError, under
from npnet.fields import AtLeast, AtMost, Below, Count, NotEmpty, check_fields, from_mapping

FeatureLayout = Literal["official", "spatial"]
Signs = Literal["canonical", "lapack"]
Size = Annotated[int, AtLeast(1), AtMost(8192)]
"""A size that a network may have; more is a mistake, or a file that means harm."""
Wide = Annotated[int, AtLeast(1), AtMost(1_000_000)]
"""A length or width of embeddings; the largest in use are below 20,000."""
Pooled = Annotated[int, AtLeast(0), AtMost(1_000_000)]
"""A width of pooled embeddings; 0: there are none."""
MOST_LEVELS = 16
GROUPS = 8
"""Most groups of a U-Net's normalisation; each holds at least 4 channels."""
WITHOUT = ("off", "left_out")
"""Forms of a network without a singular-value branch: with the noise in its place, and with nothing there."""
PLACES = ("npnet.NPNet", "npnet.networks.NPNet", "npnet.networks.npnet.NPNet")
"""How a YAML may name the class."""


class Levels:
    """A rule: at least one level, and no more than a network may have."""

    def holds(self, value: Any) -> bool:
        """See ``bounds.Rule.holds``."""
        return 1 <= len(value) <= MOST_LEVELS

    def __str__(self) -> str:
        """Return the rule in words."""
        return f"that is not empty and has at most {MOST_LEVELS} levels"


class SwinName:
    """A rule: a name that timm could give a Swin transformer."""

    def holds(self, value: Any) -> bool:
        """See ``bounds.Rule.holds``."""
        return value.startswith("swin_")

    def __str__(self) -> str:
        """Return the rule in words."""
        return "that names a Swin transformer of timm (swin_..., see timm.list_models('swin_*'))"


@dataclass(frozen=True)
class SwinSizes:
    """A Swin trunk, with the arguments of timm's ``SwinTransformer``."""

    img_size: Size | tuple[Size, Size]
    embed_dim: Size
    depths: Annotated[tuple[Annotated[int, AtLeast(1), AtMost(64)], ...], Levels()]
    num_heads: Annotated[tuple[Count, ...], NotEmpty()]
    patch_size: Size = 4
    window_size: Size | tuple[Size, Size] = 7
    drop_path_rate: Annotated[float, AtLeast(0), Below(1)] = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.num_heads) != len(self.depths):
            raise FieldError("num_heads", self.num_heads, f"one number for each of the {len(self.depths)} depths")


@dataclass(frozen=True)
class UNetSizes:
    """A U-Net trunk: the channels of each level, and the size of the patches that enter the first level."""

    widths: Annotated[tuple[Annotated[int, AtLeast(GROUPS), MultipleOf(GROUPS), AtMost(8192)], ...], Levels()]
    patch_size: Annotated[int, AtLeast(1), AtMost(64)] = 1

    def __post_init__(self) -> None:
        check_fields(self)


UNET = "unet"
"""A ``trunk`` that asks for a U-Net of the sizes that suit its latents, see ``unet_for``."""
SMALL = {"widths": [24, 48, 80], "patch_size": 1}
LARGE = {"widths": [64, 128, 256, 512], "patch_size": 2}
SMALL_SIDE = 32
"""Latents of at most so many cells a side get the small one; those of the Shapes model have 16, SDXL's have 128."""


def unet_for(latent_size: int | Sequence[int]) -> dict[str, Any]:
    """Return the sizes that suit noise of ``latent_size`` cells, one number or (h, w); those of ``UNetSizes``."""
    sides = [latent_size] if isinstance(latent_size, int) else latent_size
    return dict(SMALL if max(sides) <= SMALL_SIDE else LARGE)


def is_unet(trunk: str | Mapping[str, Any]) -> bool:
    """Return whether a network's ``trunk`` asks for a U-Net: a mapping with ``widths``."""
    return not isinstance(trunk, str) and "widths" in trunk


@dataclass(frozen=True)
class NPNetArguments:
    """The arguments of ``NPNet``, which says what each means.

    Raises:
        FieldError: names the argument that is not allowed.
    """

    latent_channels: Size = 4
    latent_size: Size | tuple[Size, Size] = (128, 128)
    text_term: Literal["spatial", "ada_group_norm", "off"] = "ada_group_norm"
    prompt_embed_dim: Wide = 2048
    prompt_length: Wide = 77
    pooled_embed_dim: Pooled = 0
    singular_value_branch: Literal["attention", "no_attention", "off", "left_out"] = "attention"
    singular_vector_signs: Signs = "canonical"
    residual_branch: bool = True
    trunk: Literal["unet"] | Annotated[str, SwinName()] | Mapping[str, Any] = "swin_tiny_patch4_window7_224"
    pretrained_trunk: bool = False
    feature_layout: FeatureLayout = "official"
    position_map: bool = False
    alpha_init: Number = 0.0
    beta_init: Number = 0.0

    def __post_init__(self) -> None:
        for name in ("text_term", "singular_value_branch"):
            if getattr(self, name) in (None, False):  # YAML reads a bare ``off`` as False
                object.__setattr__(self, name, "off")
        check_fields(self)
        if isinstance(self.trunk, Mapping):
            with under("trunk"):
                from_mapping(UNetSizes if is_unet(self.trunk) else SwinSizes, self.trunk)
        without_weights = self.trunk == UNET or isinstance(self.trunk, Mapping)
        if without_weights and self.pretrained_trunk and self.residual_branch:
            raise FieldError("pretrained_trunk", True, "a trunk given by its timm name is needed, got its sizes")
        branch = self.singular_value_branch in WITHOUT
        if branch and (self.text_term, self.residual_branch) == ("off", False):
            others = "text_term and singular_value_branch are off too, so nothing is left to learn"
            raise FieldError("residual_branch", False, others)

    def plain(self) -> dict[str, Any]:
        """Return the arguments as plain numbers, texts and lists, as JSON can hold them."""
        size, trunk = self.latent_size, self.trunk
        if trunk == UNET:
            trunk = unet_for(size)
        return {
            **asdict(self),
            "latent_size": [size] * 2 if isinstance(size, int) else list(size),
            "trunk": trunk if isinstance(trunk, str) else _plain(trunk),
        }


def _plain(trunk: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, Sequence) else value for key, value in trunk.items()}
