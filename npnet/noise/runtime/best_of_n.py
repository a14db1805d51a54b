"""Best of N; see ``npnet.noise.best_of_n``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.best_of_n import BestOfN
from npnet.noise.runtime.search import LoadedSearch, Search, rows_of
from npnet.records import Conditioning, NoiseResult


class LoadedBestOfN(LoadedSearch[BestOfN]):
    """Scores every candidate and keeps the best."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``."""
        method, count, drawn = self.method, self.method.num_candidates, noise
        if not method.drawn_first:
            noise = self.propose(noise if count == 1 else _exact(noise, backbone), conditioning, backbone)
        if count == 1:
            return NoiseResult(noise)
        first = _exact(noise, backbone)
        cost = method.round_forwards(backbone)
        search = Search(first, method.budget, "best_of_n", count, cost, method.threshold)
        for index in range(count):
            rows = search.rows
            if not rows:
                break
            texts, candidate = conditioning[rows], first[rows]
            if index > 0:
                if not (index == 1 and method.drawn_first):
                    candidate = seeding.randn_like(candidate, rows_of(generators, rows))
                candidate = self.propose(candidate, texts, backbone)
            if not self.attempt(search, candidate, texts, backbone, rows):
                break
        return search.result(drawn)


def _exact(noise: Tensor, backbone: LoadedBackbone) -> Tensor:
    """Return noise as it is searched: on the backbone's device, in float32."""
    return noise.to(backbone.device, torch.float32)
