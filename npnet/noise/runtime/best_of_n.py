"""Best of N; see ``npnet.noise.best_of_n``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.best_of_n import BestOfN
from npnet.noise.runtime.search import LoadedSearch, Search
from npnet.records import Conditioning, NoiseResult


class LoadedBestOfN(LoadedSearch[BestOfN]):
    """Scores every candidate and keeps the best."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``."""
        count = self.method.num_candidates
        if count == 1:
            return NoiseResult(noise)
        given = noise.to(backbone.device, torch.float32)
        search = Search(given, self.method.budget, "best_of_n", count, self.method.round_forwards(backbone))
        for index in range(count):
            candidate = given if index == 0 else seeding.randn_like(given, generators)
            if not self.attempt(search, candidate, conditioning, backbone):
                break
        return search.result(noise)
