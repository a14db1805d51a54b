"""What the laws of backbones are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.records import Conditioning

SEEDS = (3, 4)
SCALE = 4.0
PROMPTS = ("a cat", "two dogs")
SHAPES_PROMPTS = ("a red circle to the left of a blue square", "a green triangle above a yellow circle")


@dataclass(frozen=True)
class Case:
    """What a law is asked about: a loaded model, and two prompts that it has words for."""

    backbone: LoadedBackbone
    prompts: Sequence[str] = PROMPTS

    @cached_property
    def noise(self) -> Tensor:
        """Noise of two samples."""
        return seeding.source_noises(list(SEEDS), self.backbone.latent_shape()).to(self.backbone.device)

    @cached_property
    def conditioning(self) -> Conditioning:
        """The two prompts, encoded."""
        return self.backbone.encode(self.prompts)

    @property
    def guided(self) -> bool:
        """Whether there is an unconditional branch."""
        return "unconditional_branch" in self.backbone.capabilities

    def steps(self, usual: int = 3) -> int:
        """Return a number of steps that the model takes: ``usual``, or as many as its spacing fixes."""
        fixed = self.backbone.schedule().fixed_levels()
        return usual if fixed is None else len(fixed)

    def timesteps(self, usual: int = 4) -> list[float]:
        """Return the levels of so many steps."""
        return self.backbone.timesteps(self.steps(usual))

    def sample(self, scale: float = SCALE, **options: object) -> Tensor:
        """Return the latents of the two samples."""
        return self.backbone.sample(self.noise, self.conditioning, self.steps(), scale, **options)  # type: ignore[arg-type]


def case_of(backbone: LoadedBackbone) -> Case:
    """Return the case of a model, with prompts of its world."""
    return Case(backbone, SHAPES_PROMPTS if backbone.domain == "shapes" else PROMPTS)
