"""Sizes and seeds of the Shapes models: one ``Variant`` for each set of weights that ``build.py`` can make."""

from dataclasses import dataclass

__all__ = ["VARIANTS", "Variant", "get_variant"]


@dataclass(frozen=True)
class Variant:
    """Everything that tells one set of weights from another; the world, the grammar and the recipe are common."""

    name: str
    seed: int
    """From which every draw of the build follows."""
    text_width: int = 48
    """Hidden size of each of the two text encoders; also the size of the pooled embedding."""
    text_layers: int = 3
    unet_channels: tuple[int, int, int] = (32, 64, 96)
    vae_channels: tuple[int, int] = (16, 32)
    vae_steps: int = 1000
    text_steps: int = 950
    scorer_steps: int = 850
    unet_steps: int = 2600
    first_snapshot: int = 500
    """Step of the first UNet snapshot; a multiple of ``snapshot_every`` steps before ``unet_steps``."""
    snapshot_every: int = 300
    num_latents: int = 28_672
    """Pictures encoded once, from which the UNet learns."""
    num_checked: int = 384
    """Prompt and seed pairs by which a snapshot is chosen, all of them training prompts."""
    num_measured: int = 1152
    """Prompt and seed pairs behind each figure in ``quality.json``; a multiple of 192."""
    collect_keys: tuple[str, ...] = ()
    """What ``make demo``'s collection is told besides, for the networks that ship."""
    train_keys: tuple[str, ...] = ()
    """The same for its training."""
    reward_keys: tuple[str, ...] = ()
    """The same for the further training on the scorer."""


VARIANTS = {
    "a": Variant("a", seed=0),
    # Another backbone of the same family: other seed, text encoder and widths.
    "b": Variant("b", seed=1, text_width=40, text_layers=4, unet_channels=(32, 64, 80)),
}


def get_variant(name: str) -> Variant:
    """Return the variant of that name.

    Raises:
        ValueError: there is none; says which there are.
    """
    if name not in VARIANTS:
        raise ValueError(f"no Shapes variant {name!r}; there are: {', '.join(VARIANTS)}")
    return VARIANTS[name]
