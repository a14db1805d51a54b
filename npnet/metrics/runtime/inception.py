"""The Inception-v3 of FID, with the names of pytorch-fid's converted weights.

It differs from torchvision's network as the original TensorFlow graph does: average pools do not count their padding,
and the last block uses a maximum pool.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception_v3

from npnet.errors import under
from npnet.weights.files import local_path
from npnet.weights.sources import check_local
from npnet.weights.tensors import build_empty, load_strict, read_tensors, require_loaded

FEATURES = 2048
SIZE = 299
Pool = Callable[[Tensor], Tensor]
average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
maximum = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
POOLS: dict[str, Pool] = {
    **dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), average),
    "Mixed_7b": average,
    "Mixed_7c": maximum,
}
BODY = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)


class Inception(nn.Module):
    """Pictures -> the 2048 numbers of the last average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.body = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, 299, 299)`` in [0, 255] -> ``(B, 2048)``; scaled to [-1, 1) as clean-fid does."""
        x = (pixels - 128) / 128
        for name in BODY:
            block: Any = getattr(self.body, name)
            out = block(x)
            if name in POOLS:  # its last channels, pooled the other way
                last = block.branch_pool(POOLS[name](x))
                out = torch.cat([out[:, : -last.shape[1]], last], 1)
            x = out
        return x.mean((2, 3))


def load_inception(path: str | Path, device: torch.device | str = "cpu") -> Inception:
    """Load the network from a safetensors file (or a PyTorch file of plain tensors) with pytorch-fid's names.

    Raises:
        UserError: the file does not exist, or does not hold these weights.
    """
    network = build_empty(Inception)
    with under("fid"):
        check_local(str(path), "weights")
        state = read_tensors(local_path(path), "weights")
        names = network.body.state_dict()
        counts = (name for name in names if name.endswith("num_batches_tracked"))  # unused, often left out
        state = {**{name: torch.zeros((), dtype=torch.long) for name in counts}, **state}
        load_strict(network.body, state, "weights", path)
    require_loaded(network)
    return network.to(device)
