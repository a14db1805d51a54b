"""Decompositions of source noise: computed once, and kept on disk in half precision.

The digest of the noise is their name. So one decomposition serves all pairs with the same seed, all epochs, all loader
processes, and all networks with the same decomposition. (The paper's 100,000 prompts use 1,025 seeds.) A network gets
the rounded values from the first time on, so its training does not depend on the content of the folder.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from npnet.data.schema import to_half
from npnet.data.tensor_cache import TensorCache
from npnet.data.tensors import fingerprint

Decompose = Callable[[Tensor], Sequence[Tensor]]
LEAST_NUMBERS = 4 * 64 * 64
"""Of one noise: smaller ones, as those of Shapes, are decomposed in little more time than a file is read."""


class KeptDecompositions:
    """A decomposing function with a cache on disk.

    Args:
        decompose: ``(B, C, *grid)`` noise -> tensors, each with the batch first; can be pickled.
        folder: shared by any number of functions; one is told from another by its name and arguments.
    """

    def __init__(self, decompose: Decompose, folder: str) -> None:
        self.decompose, self.cache = decompose, TensorCache(folder, pickle.dumps(decompose, protocol=4).hex())

    def __call__(self, noise: Tensor) -> Sequence[Tensor]:
        """Return the decomposition of ``(B, C, *grid)`` noise, as ``decompose`` does, rounded to float16.

        Raises:
            UserError: the folder cannot be written.
        """
        if noise[0].numel() < LEAST_NUMBERS:
            return self.decompose(noise)
        texts = [fingerprint({"noise": row}) for row in noise]
        found = {text: kept for text in texts if (kept := self.cache.read(text)) is not None}
        missing = {text: row for text, row in zip(texts, noise, strict=True) if text not in found}
        if missing:
            parts = [to_half(part) for part in self.decompose(torch.stack(list(missing.values())))]
            for row, text in enumerate(missing):
                found[text] = {str(number): part[row] for number, part in enumerate(parts)}
                self.cache.write(text, found[text])
        names = sorted(found[texts[0]], key=int)
        return [torch.stack([found[text][name] for text in texts]).to(noise.dtype) for name in names]
