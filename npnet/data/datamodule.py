"""The Lightning data module: shards in, training and validation batches out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from npnet.data.decompositions import KeptDecompositions
from npnet.data.found import FoundPairs
from npnet.data.index import TRAINING, VALIDATION
from npnet.data.pairs import Pairs
from npnet.data.stream import Embeddings, PairStream
from npnet.errors import UserError
from npnet.records import NoisePair


def plain_loader(stream: PairStream, num_workers: int) -> DataLoader:
    """Return a loader that leaves torch's global random state alone, so that a resumed run finds it unchanged.

    Its processes live as long as the loader, so that they hash and import only once in a run.
    """
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
    )


def readers(device: str, processes: int) -> int:
    """Return the loader processes of each training process: its share of the cores for a GPU, none on a CPU."""
    if device == "cpu":  # they would use the cores that train
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // processes)


class ResumableLoader:
    """A loader that can start in the middle of a later epoch, so that a killed run resumes at the same pair.

    Args:
        stream: the batches.
        num_workers: loader processes.
        epoch: that the first iteration gives.
        delivered: batches of it that were trained on already.
    """

    def __init__(self, stream: PairStream, num_workers: int, epoch: int = 0, delivered: int = 0) -> None:
        self.stream, self._batches = stream, plain_loader(stream, num_workers)
        self._next = (epoch, delivered)

    def __len__(self) -> int:
        return self.stream.num_batches()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        (epoch, delivered), self._next = self._next, (self._next[0] + 1, 0)
        self.stream.begin(epoch, delivered)
        count = len(self)
        for batch in self._batches:
            if isinstance(batch, UserError):
                raise batch
            if delivered == count:
                return
            delivered += 1
            yield batch


class PairData(FoundPairs, L.LightningDataModule):
    """Pairs that ``collect.py`` wrote, split by prompt.

    Args:
        asked: which, and how they are read.

    Attributes:
        decompose: see ``PairStream``; set by the command, so that this package need not know the network.
        embeddings: see ``PairStream``; set by the command where shards hold none.
        position: epoch and batches of it that a run was given already.
    """

    def __init__(self, asked: Pairs) -> None:
        L.LightningDataModule.__init__(self)
        FoundPairs.__init__(self, asked)
        self.decompose: Callable[[torch.Tensor], Any] | None = None
        self.embeddings: Embeddings | None = None
        self.position = (0, 0)

    def first(self) -> NoisePair:
        """Return the first pair, with its embeddings where they are known: its shapes are those of all."""
        stream = self._stream(TRAINING)
        stream.shuffle_buffer = 0
        return stream.first()

    def train_dataloader(self) -> ResumableLoader:
        """Return the shuffled training batches."""
        trainer, asked = self.trainer, self.asked
        if asked.num_workers != "auto":
            num_workers = asked.num_workers
        elif trainer is None:
            num_workers = 0
        else:
            num_workers = readers(trainer.strategy.root_device.type, trainer.num_devices)
        return ResumableLoader(self._stream(TRAINING), num_workers, *self.position)

    def num_batches(self, world_size: int) -> int:
        """Return the batches of an epoch of each of ``world_size`` training processes."""
        stream = self._stream(TRAINING)
        stream.rank, stream.world_size = 0, world_size
        return stream.num_batches()

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Return the validation batches, in the order of the shards; none where the split is empty.

        Every training process validates on all of them, so that all see the same values.
        """
        return plain_loader(self._stream(VALIDATION), 0) if self.num_samples(validation=True) else []

    def _held(self) -> int:
        """Return the samples held for shuffling."""
        if not self.asked.shuffle_buffer:
            return 0
        return max(1, min(self.asked.shuffle_buffer, self.asked.shuffle_buffer_bytes // max(1, self.pair_bytes)))

    def _stream(self, split: int) -> PairStream:
        asked, ranks, decompose = self.asked, (0, 1), self.decompose
        if decompose is not None and asked.decompositions_cache is not None:
            decompose = KeptDecompositions(decompose, asked.decompositions_cache)
        if self.trainer is not None and split == TRAINING:
            ranks = (self.trainer.global_rank, self.trainer.world_size)
        return PairStream(
            self.entries,
            split,
            asked.batch_size,
            asked.seed,
            self._held() if split == TRAINING else 0,
            *ranks,
            decompose=decompose,
            embeddings=self.embeddings,
            sizes=self._first,
            validation_share=asked.validation_share,
        )
