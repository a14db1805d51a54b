"""The baseline: the noise as it was drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npnet.noise.base import NoiseMethod

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits


@dataclass(frozen=True)
class Standard(NoiseMethod):
    """Return the noise unchanged; costs nothing."""

    runtime = "npnet.noise.runtime.standard:LoadedStandard"

    def forwards(self, backbone: BackboneTraits) -> int:
        """See ``NoiseMethod.forwards``."""
        return 0
