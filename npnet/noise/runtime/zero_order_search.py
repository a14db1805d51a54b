"""Zero-order search; see ``npnet.noise.zero_order_search``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.noise.runtime.search import LoadedSearch, Search, rows_of
from npnet.noise.zero_order_search import ZeroOrderSearch
from npnet.records import Conditioning, NoiseResult


def neighbour(pivot: Tensor, fresh: Tensor, radius: float) -> Tensor:
    """Return sqrt(1 - radius^2) pivot + radius fresh: N(0, I) again where both are, and independent."""
    return math.sqrt(1 - radius**2) * pivot + radius * fresh


class LoadedZeroOrderSearch(LoadedSearch[ZeroOrderSearch]):
    """Climbs from pivot to pivot."""

    def __call__(
        self, noise: Tensor, conditioning: Conditioning, backbone: LoadedBackbone, generators: Sequence[torch.Generator]
    ) -> NoiseResult:
        """See ``LoadedMethod.__call__``."""
        method = self.method
        pivot = self.propose(noise.to(backbone.device, torch.float32), conditioning, backbone)
        cost = method.round_forwards(backbone)
        search = Search(pivot, method.budget, "zero_order_search", method.num_scored, cost, method.threshold)
        afforded = self.attempt(search, pivot, conditioning, backbone, search.rows)
        for _ in range(method.num_rounds):
            pivot = search.best.clone()
            for _ in range(method.num_candidates):
                rows = search.rows
                if afforded and rows:
                    fresh = seeding.randn_like(pivot[rows], rows_of(generators, rows))
                    candidate = neighbour(pivot[rows], fresh, method.radius)
                    afforded = self.attempt(search, candidate, conditioning[rows], backbone, rows)
        return search.result(noise)
