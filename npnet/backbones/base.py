"""The description of a diffusion model, from a YAML in ``conf/backbone``: sizes, levels and costs without weights.

``load`` returns the model itself, a ``LoadedBackbone``. The package ``runtime`` explains the terms of the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from npnet.backbones.traits import BackboneTraits

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone


@dataclass(frozen=True, kw_only=True)
class Backbone(BackboneTraits):
    """The description of a model. A family defines ``schedule``, ``latent_shape``, ``embed_dims`` and its ``runtime``.

    ``load`` calls the runtime with the description and a device. The fields are those of ``BackboneTraits``.
    """

    def load(self, device: str | None = None) -> LoadedBackbone:
        """Load the weights.

        Args:
            device: instead of the field ``device``; None uses the field.
        """
        return self.runtime_class()(self, device)
