"""Pairs as training batches: a seeded, streamed order that a killed run finds again.

The order of an epoch is a function of (seed, epoch, number of readers) alone. Shards are dealt to the readers (one
for each loader process of each training process) so that all get about as many pairs, always the same ones, so that an
epoch has as many batches as the last; every reader shuffles its shards, and their samples through a buffer. Batches are
made by the readers, so decoding and the singular value decomposition happen there too. ``skip`` starts an epoch in its
middle: the batches before it are read but not decoded.

Rule for several training processes: no pair is seen by two of them in an epoch, and all take as many batches as the one
with the fewest, so an epoch may leave out the last batches of the others; which pairs these are changes with the epoch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from npnet.data import places, schema
from npnet.data.index import VALIDATION, Entry, Form, is_validation
from npnet.errors import UserError
from npnet.records import NoisePair
from npnet.seeding import named_seed

Embeddings = Callable[[str], "dict[str, torch.Tensor] | None"]
"""prompt -> its embeddings, as a shard holds them, or None where they are not known."""


def collate(samples: Sequence[Any]) -> dict[str, Any]:
    """Stack pairs into a batch.

    Returns:
        ``source_noise`` and ``golden_noise`` ``(B, C, *grid)`` float32, ``prompts`` (a list), and the embeddings that
        the shards hold; token embeddings of different lengths are padded, with ``prompt_mask`` (B, L) 1 for real ones.
    """
    batch: dict[str, Any] = {
        "source_noise": torch.stack([s.source_noise for s in samples]).float(),
        "golden_noise": torch.stack([s.golden_noise for s in samples]).float(),
        "prompts": [s.prompt for s in samples],
    }
    if samples[0].prompt_embeds is None:
        return batch
    for name in samples[0].prompt_embeds:
        tensors = [s.prompt_embeds[name].float() for s in samples]
        batch[name] = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
    if "prompt_mask" not in batch and "prompt_embeds" in batch:
        lengths = {len(s.prompt_embeds["prompt_embeds"]) for s in samples}
        if len(lengths) > 1:
            ones = [torch.ones(len(s.prompt_embeds["prompt_embeds"])) for s in samples]
            batch["prompt_mask"] = torch.nn.utils.rnn.pad_sequence(ones, batch_first=True)
    return batch


class PairStream(IterableDataset):
    """The batches of one split, epoch by epoch.

    Args:
        entries: the shards.
        split: ``index.TRAINING`` or ``index.VALIDATION``.
        batch_size: samples in a batch; the last of a reader may be smaller.
        seed: of the order.
        shuffle_buffer: samples held for shuffling by each reader; 0 keeps the order of the shards.
        rank: this training process.
        world_size: number of training processes.
        decompose: ``(B, C, *grid)`` noise -> its singular value decomposition, added as ``decomposition``.
        embeddings: asked for pairs whose shard holds none.
        form: of every pair, and the file it was learned from; pairs of another one are refused.
        validation_share: by which the entries were split; pairs that a tar holds in another order are refused.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        split: int,
        batch_size: int,
        seed: int = 0,
        shuffle_buffer: int = 0,
        rank: int = 0,
        world_size: int = 1,
        decompose: Callable[[torch.Tensor], Any] | None = None,
        embeddings: Embeddings | None = None,
        form: tuple[Form, str] | None = None,
        validation_share: float | None = None,
    ) -> None:
        self.entries, self.split = list(entries), split
        self.batch_size, self.seed, self.shuffle_buffer = batch_size, seed, shuffle_buffer
        self.rank, self.world_size = rank, world_size
        self.decompose, self.embeddings, self.form = decompose, embeddings, form
        self.validation_share = validation_share
        self.epoch, self.skip = 0, 0
        self._counts = [entry.count(split) for entry in self.entries]

    def num_samples(self) -> int:
        """Return the samples of the split."""
        return sum(self._counts)

    def dealt(self, reader: int, num_readers: int) -> list[int]:
        """Return the shards of one reader in this epoch's order: the largest first, each to whoever has least."""
        mine, held = [], [0] * num_readers
        for index in sorted(range(len(self.entries)), key=lambda i: -self._counts[i]):
            owner = held.index(min(held))
            held[owner] += self._counts[index]
            if owner == reader:
                mine.append(index)
        mine.sort()
        if self.shuffle_buffer:
            random.Random(named_seed(self.seed, "shard order", self.epoch, reader)).shuffle(mine)
        return mine

    def batches_of(self, rank: int, num_workers: int) -> list[int]:
        """Return how many batches each reader of a training process makes in an epoch."""
        readers = max(1, num_workers)
        total = self.world_size * readers
        return [
            -(-sum(self._counts[i] for i in self.dealt(rank * readers + worker, total)) // self.batch_size)
            for worker in range(readers)
        ]

    def num_batches(self, num_workers: int) -> int:
        """Return the batches of an epoch, the same on every training process."""
        return min(sum(self.batches_of(rank, num_workers)) for rank in range(self.world_size))

    def __iter__(self) -> Iterator[dict[str, Any] | UserError]:
        info = get_worker_info()
        num_workers = info.num_workers if info else 1
        position = info.id if info else 0
        made = self.batches_of(self.rank, num_workers)
        worker, taken = resume_point(made, self.skip, position)
        reader = self.rank * num_workers + worker
        try:
            for number, samples in enumerate(self._batches(reader, self.world_size * num_workers)):
                if number >= taken:
                    yield self._made(samples)
        except UserError as error:
            if info is None:
                raise
            yield error  # an exception would arrive with the process's traceback in its text

    def first(self) -> NoisePair:
        """Return the first pair of the split, decoded."""
        where, raw = next(self._raw(0, 1))
        return self._decoded(raw, where)

    def _made(self, samples: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        batch = collate([self._decoded(raw, where) for where, raw in samples])
        if self.decompose is not None:
            batch["decomposition"] = self.decompose(batch["source_noise"])
        return batch

    def _decoded(self, raw: dict[str, Any], where: str) -> NoisePair:
        pair = schema.decode(raw, where)
        share = self.validation_share
        if share is not None and is_validation(pair.prompt, share) != (self.split == VALIDATION):
            raise UserError(f"{where}: sample {pair.key} is not the pair that its sidecar lists in this place")
        if pair.prompt_embeds is None and self.embeddings is not None:
            pair = replace(pair, prompt_embeds=self.embeddings(pair.prompt))
            if pair.prompt_embeds is None:
                raise UserError(f"{where}: sample {pair.key}: no embeddings are cached for {pair.prompt!r}")
        if self.form is not None:
            form, first = self.form
            form.require(Form.of(pair), f"{where}: sample {pair.key}", first)
        return pair

    def _batches(self, reader: int, num_readers: int) -> Iterator[list[tuple[str, dict[str, Any]]]]:
        batch: list[tuple[str, dict[str, Any]]] = []
        for sample in self._shuffled(self._raw(reader, num_readers), reader):
            batch.append(sample)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _raw(self, reader: int, num_readers: int) -> Iterator[tuple[str, dict[str, Any]]]:
        for index in self.dealt(reader, num_readers):
            entry, count = self.entries[index], 0
            if not self._counts[index]:
                continue
            for raw in places.iterate(entry.path):
                count += 1
                if count <= len(entry.splits) and entry.splits[count - 1] == self.split:
                    yield str(entry.path), raw
            if count != len(entry.splits):
                raise UserError(f"{entry.path}: holds {count} pairs, its sidecar lists {len(entry.splits)}")

    def _shuffled(self, source: Iterator[Any], reader: int) -> Iterator[Any]:
        if not self.shuffle_buffer:
            yield from source
            return
        draw = random.Random(named_seed(self.seed, "sample order", self.epoch, reader))
        buffer: list[Any] = []
        for sample in source:
            if len(buffer) < self.shuffle_buffer:
                buffer.append(sample)
                continue
            index = draw.randrange(len(buffer))
            buffer[index], sample = sample, buffer[index]
            yield sample
        draw.shuffle(buffer)
        yield from buffer


def resume_point(made: Sequence[int], skip: int, position: int) -> tuple[int, int]:
    """Return (reader, batches it has delivered) for the loader process at ``position`` after ``skip`` batches.

    The loader asks its processes in turn and passes over those that have ended; a fresh loader starts its turn anew,
    so the processes are renamed to make the turn go on where it stopped.

    Args:
        made: batches that each reader makes in the epoch.
        skip: batches delivered before.
        position: the fresh process's place in the turn.
    """
    delivered = [0] * len(made)
    turn = 0
    for _ in range(min(skip, sum(made))):
        while delivered[turn] >= made[turn]:
            turn = (turn + 1) % len(made)
        delivered[turn] += 1
        turn = (turn + 1) % len(made)
    reader = (turn + position) % len(made)
    return reader, delivered[reader]
