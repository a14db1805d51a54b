"""A diffusion model, described: what a YAML of ``conf/backbone`` builds. It knows sizes, levels and costs, no weights.

``load`` returns the model itself, a ``LoadedBackbone``; the package ``runtime`` explains the words of the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npnet.backbones.traits import BackboneTraits

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone


@dataclass(frozen=True, kw_only=True)
class Backbone(BackboneTraits):
    """The description of a model; a family writes ``schedule``, ``latent_shape``, ``embed_dims`` and names its runtime.

    The runtime is called with the description and a device (see ``load``). The fields are those of ``BackboneTraits``.
    """

    def load(self, device: str | None = None) -> LoadedBackbone:
        """Load the weights.

        Args:
            device: instead of the field; None is the field.
        """
        return self.runtime_class()(self, device)
