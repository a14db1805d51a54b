"""Semantic erasure by noise latent normalisation (NLN), "Beyond Randomness" (arXiv 2511.07756): a null control.

z = (z_1 + ... + z_n) / sqrt(n) of independent normal draws is said to dilute what each of them means to the model. In
distribution it is a fresh draw: N(0, I), and independent of the prompt. So no mean effect over seeds is possible; what
a comparison shows for this method is the noise of the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from npnet import seeding
from npnet.errors import unknown
from npnet.noise.base import NoiseMethod
from npnet.noise.search import at_least, per_sample
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone

Renormalise = Literal["none", "norm", "std"]
RENORMALISE = ("none", "norm", "std")


def erase(noise: Tensor, generators: Sequence[torch.Generator], num_noises: int) -> Tensor:
    """Return (z_1 + ... + z_n) / sqrt(n), ``(B, C, *grid)``, where z_1 is ``noise`` and the rest are fresh draws."""
    total = noise
    for _ in range(num_noises - 1):
        total = total + seeding.randn_like(noise, generators)
    return total / num_noises**0.5


def renormalise(noise: Tensor, how: Renormalise) -> Tensor:
    """Restore the size of each sample.

    Args:
        noise: ``(B, C, *grid)``.
        how: ``norm`` scales to the norm sqrt(d); ``std`` takes the mean off and scales to a standard deviation of 1;
            ``none`` returns what it got.
    """
    flat = noise.flatten(1)
    if how == "norm":
        return noise * per_sample(flat.shape[1] ** 0.5 / flat.norm(dim=1), noise)
    if how == "std":
        centred = noise - per_sample(flat.mean(1), noise)
        return centred / per_sample(flat.std(1, correction=0), noise)
    return noise


def check_renormalise(how: str) -> Renormalise:
    """Check the key ``renormalise``.

    Raises:
        UserError: it is none of ``RENORMALISE``.
    """
    if how not in RENORMALISE:
        raise unknown("renormalise", how, RENORMALISE)
    return how  # type: ignore[return-value]


class SemanticErasure(NoiseMethod):
    """NLN alone; see the module's docstring for what it can and cannot show.

    Args:
        num_noises: n, the noise that was given included (unpublished; our choice: 8); 1 is the identity.
        renormalise: per sample: ``none``, ``norm`` or ``std``, see ``renormalise`` (the authors' text can be read
            either way; our choice: none, as the formula has it).

    Cost: n - 1 draws, no forwards.
    """

    is_null_control = True

    def __init__(self, num_noises: int = 8, renormalise: Renormalise = "none") -> None:
        self.num_noises = at_least("num_noises", num_noises, 1)
        self.renormalise = check_renormalise(renormalise)

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``."""
        erased = erase(noise.to(backbone.device, torch.float32), generators, self.num_noises)
        return NoiseResult(renormalise(erased, self.renormalise).to(noise))

    def forwards(self, backbone: Backbone) -> int:
        """See ``NoiseMethod.forwards``."""
        return 0
