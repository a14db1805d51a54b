"""Semantic erasure by noise latent normalisation (NLN), "Beyond Randomness" (arXiv 2511.07756): a null control.

The paper says that z = (z_1 + ... + z_n) / sqrt(n) of independent normal draws dilutes what each of them means to the
model. In distribution, z is a fresh draw: N(0, I) and independent of the prompt. So no mean effect over seeds is
possible. Any difference that a comparison shows for this method is chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from npnet.fields import Count
from npnet.noise.base import NoiseMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits

Renormalise = Literal["none", "norm", "std"]


@dataclass(frozen=True)
class SemanticErasure(NoiseMethod):
    """NLN alone; see the module's docstring for what it can and cannot show.

    Args:
        num_noises: n, with the given noise among them (not published; our choice: 8); 1 returns the given noise.
        renormalise: per sample: ``none``, ``norm`` or ``std``, see ``runtime.semantic_erasure.renormalise`` (the
            authors' text can be read either way; our choice: none, as the formula has it).

    Cost: n - 1 draws, no forwards.
    """

    runtime = "npnet.noise.runtime.semantic_erasure:LoadedSemanticErasure"
    is_null_control = True

    num_noises: Count = 8
    renormalise: Renormalise = "none"

    def forwards(self, backbone: BackboneTraits) -> int:
        """See ``NoiseMethod.forwards``."""
        return 0
