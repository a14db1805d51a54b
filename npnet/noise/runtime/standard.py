"""The baseline: the noise as it was drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.runtime.base import LoadedMethod
from npnet.noise.standard import Standard
from npnet.records import Conditioning, NoiseResult


class LoadedStandard(LoadedMethod[Standard]):
    """Returns the noise that was given."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``."""
        return NoiseResult(noise)
