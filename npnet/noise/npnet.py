"""Golden noise from a trained network: one forward of a small network, and none of the diffusion model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npnet.noise.base import NoiseMethod
from npnet.noise.network_source import NetworkSource

if TYPE_CHECKING:
    from npnet.backbones.traits import BackboneTraits


@dataclass(frozen=True)
class Network(NetworkSource, NoiseMethod):
    """Apply a trained member of ``npnet.networks`` (Golden Noise, section 3); the keys are ``NetworkSource``'s."""

    runtime = "npnet.noise.runtime.npnet:LoadedNetwork"
    # a network trained with the MSE shrinks the noise towards the mean of its targets
    variance_bound = (0.4, 2.5)

    @property
    def applied_network(self) -> Network:
        """See ``NoiseMethod.applied_network``."""
        return self

    def forwards(self, backbone: BackboneTraits) -> int:
        """See ``NoiseMethod.forwards``: the diffusion model is not evaluated."""
        return 0
