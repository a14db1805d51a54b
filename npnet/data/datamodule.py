"""The Lightning data module: shards in, training and validation batches out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from npnet.data import schema
from npnet.data.shards import Shard, iterate_shard, list_shards
from npnet.data.stream import PairStream, Selection
from npnet.errors import UserError


def plain_loader(stream: PairStream, num_workers: int) -> DataLoader:
    """Return a loader that leaves torch's global random state alone, so that a resumed run finds it unchanged."""
    return DataLoader(stream, batch_size=None, num_workers=num_workers, generator=torch.Generator())


class ResumableLoader:
    """A loader whose position travels in Lightning's checkpoints, so that a killed run goes on at the same sample."""

    def __init__(self, stream: PairStream, num_workers: int) -> None:
        self.stream, self.num_workers = stream, num_workers
        self.epoch, self.delivered, self._resuming = -1, 0, False

    def __len__(self) -> int:
        return self.stream.num_batches(self.num_workers)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self._resuming:
            self.epoch, self.delivered = self.epoch + 1, 0
        self._resuming = False
        self.stream.epoch, self.stream.skip = self.epoch, self.delivered
        for batch in plain_loader(self.stream, self.num_workers):
            if self.delivered == len(self):
                return
            # counted before it is handed out: what was handed out was trained on when a checkpoint is written
            self.delivered += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position: the epoch, and the batches handed out in it."""
        return {"epoch": self.epoch, "delivered": self.delivered}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from ``state``; an epoch that was finished is followed by the next one."""
        self.epoch, self.delivered = state["epoch"], state["delivered"]
        self._resuming = self.delivered < len(self)


class PairData(L.LightningDataModule):
    """Pairs that ``collect.py`` wrote, split by prompt.

    Args:
        shards: the folder of the shards.
        batch_size: samples in a batch.
        kept_only: leave out the pairs that the selection rejected.
        validation_share: of the prompts, by a hash of their text; 0 trains on all and validates on none.
        num_workers: loader processes.
        shuffle_buffer: samples held for shuffling by each loader process; 0 keeps the order.
        seed: of the order.
        decompose: see ``PairStream``; set by the command, so that this package need not know the network.
    """

    def __init__(
        self,
        shards: str | None,
        batch_size: int = 64,
        kept_only: bool = True,
        validation_share: float = 0.1,
        num_workers: int = 0,
        shuffle_buffer: int = 4096,
        seed: int = 0,
        decompose: Callable[[torch.Tensor], Any] | None = None,
    ) -> None:
        super().__init__()
        if not shards:
            raise UserError("data.shards=DIR is needed: a folder that collect.py left")
        if not isinstance(validation_share, (int, float)) or not 0 <= validation_share < 1:
            raise UserError(f"data.validation_share={validation_share!r}: a number in [0, 1) is needed")
        self.folder = Path(shards)
        self.batch_size, self.kept_only, self.validation_share = batch_size, kept_only, float(validation_share)
        self.num_workers, self.shuffle_buffer, self.seed = num_workers, shuffle_buffer, seed
        self.decompose = decompose
        self.shards: list[Shard] = []

    def check(self) -> None:
        """Find the shards, before anything is loaded.

        Raises:
            UserError: no such folder, no finished shard in it, or no pair that training could use.
        """
        self.shards = list_shards(self.folder)
        if not self._stream(validation=False).num_samples():
            what = "kept pair" if self.kept_only else "pair"
            raise UserError(f"data.shards={self.folder}: no {what} to train on in {len(self.shards)} shards")

    def num_samples(self, validation: bool) -> int:
        """Return how many pairs the training or the validation split holds."""
        return self._stream(validation).num_samples()

    def first(self) -> Any:
        """Return the first pair of the training split: its shapes are those of all."""
        stream = self._stream(validation=False)
        for shard in self.shards:
            for raw in iterate_shard(shard.path):
                pair = schema.decode(raw, str(shard.path))
                if stream.selection(pair.prompt, pair.kept):
                    return pair
        raise UserError(f"data.shards={self.folder}: the shards hold none of the pairs their sidecars list")

    def train_dataloader(self) -> ResumableLoader:
        """Return the shuffled training batches."""
        return ResumableLoader(self._stream(validation=False), self.num_workers)

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Return the validation batches, always in the order of the shards; none where the split is empty."""
        stream = self._stream(validation=True)
        return plain_loader(stream, 0) if stream.num_samples() else []

    def _stream(self, validation: bool) -> PairStream:
        ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        return PairStream(
            self.shards,
            Selection(validation, self.validation_share, self.kept_only),
            self.batch_size,
            self.seed,
            0 if validation else self.shuffle_buffer,
            *ranks,
            decompose=self.decompose,
        )
