"""Training batches of pairs, in a seeded, streamed order that a resumed run continues.

The order of an epoch's pairs depends only on (seed, epoch): the shards are shuffled, and their pairs are shuffled in a
buffer. The order is drawn from the sidecars, before a tar is read. It is cut into rounds, with one batch for each
training process, and the loader processes of a training process make its batches in turn. So any number of processes
and readers (even more than shards) trains on the same pairs in the same order, and N processes with batches of B do the
same steps as one process with batches of N x B. In a last round that is not full, each process gets the same number of
pairs. Fewer pairs than there are processes are left out of that epoch; which ones changes with the epoch.

Every reader goes through the shards, but reads and decodes only the pairs of its own batches. It also computes the
singular value decomposition. A reader that starts in the middle of an epoch reads the rest.
"""

from __future__ import annotations

import itertools
import random
from array import array
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from npnet.data import places, schema
from npnet.data.index import VALIDATION, Entry, PairSizes, is_validation
from npnet.data.shards import another_pair, require_count
from npnet.errors import UserError
from npnet.records import NoisePair
from npnet.seeding import named_seed

Embeddings = Callable[[str], "dict[str, torch.Tensor] | None"]
"""prompt -> its embeddings, as a shard holds them, or None where they are not known."""
PLACE_BITS, PLACE_MASK = 32, 2**32 - 1


def collate(samples: Sequence[Any]) -> dict[str, Any]:
    """Stack pairs into a batch.

    Returns:
        ``source_noise`` and ``golden_noise`` ``(B, C, *grid)`` float32, ``prompts`` (a list), ``kept`` ``(B,)`` bool,
        ``gains`` (metric -> golden less source score, ``(B,)``, of metrics that scored all), and the embeddings that
        the shards hold; token embeddings of different lengths are padded, with ``prompt_mask`` (B, L) 1 for real ones.
    """
    batch: dict[str, Any] = {
        "source_noise": _padded([s.source_noise for s in samples]),
        "golden_noise": _padded([s.golden_noise for s in samples]),
        "prompts": [s.prompt for s in samples],
        "kept": torch.tensor([s.kept for s in samples]),
        "gains": _gains(samples),
    }
    if samples[0].prompt_embeds is None:
        return batch
    for name in samples[0].prompt_embeds:
        batch[name] = _padded([s.prompt_embeds[name] for s in samples])
    if "prompt_mask" not in batch and "prompt_embeds" in batch:
        lengths = {len(s.prompt_embeds["prompt_embeds"]) for s in samples}
        if len(lengths) > 1:
            batch["prompt_mask"] = _padded([torch.ones(len(s.prompt_embeds["prompt_embeds"])) for s in samples])
    return batch


def _gains(samples: Sequence[Any]) -> dict[str, torch.Tensor]:
    scores = [sample.scores for sample in samples]
    shared = [label for label in scores[0] if all(label in others for others in scores)]
    return {label: torch.tensor([s[label][1] - s[label][0] for s in scores], dtype=torch.float32) for label in shared}


def _padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return rows as one float32 tensor, the shorter ones with zeros at their end; each number is copied once."""
    lengths = {len(row) for row in rows}
    make = torch.empty if len(lengths) == 1 else torch.zeros
    found = make(len(rows), max(lengths), *rows[0].shape[1:], dtype=torch.float32)
    for place, row in zip(found, rows, strict=True):
        place[: len(row)].copy_(row)
    return found


class PairStream(IterableDataset):
    """The batches of one split, epoch by epoch.

    Args:
        entries: the shards.
        split: ``index.TRAINING`` or ``index.VALIDATION``.
        batch_size: samples in a batch; the last of an epoch may be smaller.
        seed: of the order.
        shuffle_buffer: samples held for shuffling; 0 keeps the order of the shards.
        rank: this training process.
        world_size: number of training processes.
        decompose: ``(B, C, *grid)`` noise -> its singular value decomposition, added as ``decomposition``.
        embeddings: asked for pairs whose shard holds none.
        sizes: of every pair, and the file they were learned from; pairs of others are refused.
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
        sizes: tuple[PairSizes, str] | None = None,
        validation_share: float | None = None,
    ) -> None:
        self.entries, self.split = list(entries), split
        self.batch_size, self.seed, self.shuffle_buffer = batch_size, seed, shuffle_buffer
        self.rank, self.world_size = rank, world_size
        self.decompose, self.embeddings, self.sizes = decompose, embeddings, sizes
        self.validation_share = validation_share
        self._position = torch.zeros(2, dtype=torch.long).share_memory_()
        """Epoch, and batches of it to leave out: shared with the loader's processes, which outlive an epoch."""
        self._counts = [entry.count(split) for entry in self.entries]

    def begin(self, epoch: int, skip: int = 0) -> None:
        """Say which epoch the next iteration gives, and how many of its batches are left out."""
        self._position[:] = torch.tensor([epoch, skip])

    @property
    def epoch(self) -> int:
        """Return the epoch that an iteration gives."""
        return int(self._position[0])

    def num_samples(self) -> int:
        """Return the samples of the split."""
        return sum(self._counts)

    def order(self) -> array[int]:
        """Return the epoch's pairs in order, each as ``shard << 32 | place in its tar``."""
        source = (
            shard << PLACE_BITS | place
            for shard in self._shards()
            for place, split in enumerate(self.entries[shard].splits)
            if split == self.split
        )
        return array("q", self._shuffled(source))

    def shares(self) -> list[range]:
        """Return this process's batches, as ranges of the order; every process has equally many, of equal sizes."""
        found, whole = [], self.batch_size * self.world_size
        for start in range(0, self.num_samples(), whole):
            size = min(whole, self.num_samples() - start) // self.world_size
            if size:
                found.append(range(start + self.rank * size, start + (self.rank + 1) * size))
        return found

    def num_batches(self) -> int:
        """Return the batches of an epoch, the same on every training process."""
        full, rest = divmod(self.num_samples(), self.batch_size * self.world_size)
        return full + (rest >= self.world_size)

    def __iter__(self) -> Iterator[dict[str, Any] | UserError]:
        info = get_worker_info()
        readers, reader = (info.num_workers, info.id) if info else (1, 0)
        order = self.order()
        batches = [[order[i] for i in share] for share in self.shares()[int(self._position[1]) + reader :: readers]]
        try:
            yield from map(self._made, self._read(batches, self.rank * readers + reader, self.world_size * readers))
        except UserError as error:
            if info is None:
                raise
            yield error  # an exception would arrive with the process's traceback in its text

    def first(self) -> NoisePair:
        """Return the first pair of the split, decoded."""
        first = [[self.order()[0]]]
        where, raw = next(self._read(first, 0, 1))[0]
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
            raise another_pair(where, pair.key)
        if pair.prompt_embeds is None and self.embeddings is not None:
            pair = replace(pair, prompt_embeds=self.embeddings(pair.prompt))
            if pair.prompt_embeds is None:
                raise UserError(f"{where}: sample {pair.key}: no embeddings are cached for {pair.prompt!r}")
        if self.sizes is not None:
            sizes, first = self.sizes
            sizes.require(PairSizes.of(pair), f"{where}: sample {pair.key}", first)
        return pair

    def _read(
        self, batches: Sequence[Sequence[int]], reader: int, num_readers: int
    ) -> Iterator[list[tuple[str, dict[str, Any]]]]:
        """Read the pairs of ``batches``, holding those that a later one needs."""
        wanted: dict[int, set[int]] = defaultdict(set)
        for pair in itertools.chain.from_iterable(batches):
            wanted[pair >> PLACE_BITS].add(pair & PLACE_MASK)
        source, held = self._raw(wanted, reader, num_readers), {}
        for batch in batches:
            for pair in batch:
                while pair not in held:
                    number, where, raw = next(source)
                    held[number] = where, raw
            yield [held.pop(pair) for pair in batch]
        for _ in source:  # nothing is wanted any more, but a shard may still be this reader's to verify
            pass

    def _raw(
        self, wanted: Mapping[int, Container[int]], reader: int, num_readers: int
    ) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for shard in self._shards():
            entry, verify = self.entries[shard], shard % num_readers == reader
            if not self._counts[shard] or not (verify or shard in wanted):
                continue
            count = 0
            for count, raw in enumerate(places.iterate(entry.path, wanted.get(shard, ()), verify), start=1):
                if count - 1 in wanted.get(shard, ()):
                    yield shard << PLACE_BITS | count - 1, str(entry.path), raw
            require_count(entry.path, count, entry.splits)

    def _shards(self) -> list[int]:
        """Return the shards in this epoch's order."""
        found = list(range(len(self.entries)))
        if self.shuffle_buffer:
            random.Random(named_seed(self.seed, "shard order", self.epoch)).shuffle(found)
        return found

    def _shuffled(self, source: Iterator[int]) -> Iterator[int]:
        if not self.shuffle_buffer:
            yield from source
            return
        draw = random.Random(named_seed(self.seed, "sample order", self.epoch))
        buffer: list[int] = []
        for sample in source:
            if len(buffer) < self.shuffle_buffer:
                buffer.append(sample)
                continue
            index = draw.randrange(len(buffer))
            buffer[index], sample = sample, buffer[index]
            yield sample
        draw.shuffle(buffer)
        yield from buffer
