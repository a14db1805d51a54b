"""The baseline: the noise as it was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from npnet.noise.base import NoiseMethod
from npnet.records import Conditioning, NoiseResult

if TYPE_CHECKING:
    from npnet.backbones.runtime.loaded import LoadedBackbone as Backbone


class Standard(NoiseMethod):
    """Return the noise unchanged; costs nothing."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: Backbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``NoiseMethod.__call__``."""
        return NoiseResult(noise)

    def forwards(self, backbone: Backbone) -> int:
        """See ``NoiseMethod.forwards``."""
        return 0
