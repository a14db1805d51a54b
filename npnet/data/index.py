"""The index of training: the place of each shard, and the split of each of its pairs.

It has one byte for each pair, so that memory hardly grows with the data; prompts and scores stay in the sidecars.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from npnet.data import places, schema
from npnet.data.shards import Shard
from npnet.errors import UserError
from npnet.records import NoisePair
from npnet.seeding import named_seed

LEFT_OUT, TRAINING, VALIDATION = range(3)


@dataclass(frozen=True)
class Entry:
    """A shard: ``splits`` holds LEFT_OUT, TRAINING or VALIDATION for each pair of the tar, in order."""

    path: Path | str
    splits: bytes

    def count(self, split: int) -> int:
        """Return the pairs of a split."""
        return self.splits.count(split)


def is_validation(prompt: str, share: float) -> bool:
    """Split by the prompt's text, so that no prompt is in both splits, whatever shards it comes from."""
    return named_seed(0, "validation split", prompt) / 2**63 < share


def make_index(
    shards: Iterable[Shard], validation_share: float, kept_only: bool, max_pairs: int | None = None
) -> list[Entry]:
    """Split the pairs of ``shards``.

    Args:
        shards: may be a stream; one is held at a time.
        validation_share: of the prompts, by a hash of their text.
        kept_only: leave out the pairs that the selection rejected.
        max_pairs: train on so many, drawn by a hash of key and prompt: a smaller number is a part of a larger one, and
            the order of the prompts does not matter. The validation pairs stay the same.
    """
    entries: list[Entry] = []
    drawn: list[tuple[int, int, int]] = []
    for shard in shards:
        splits = bytearray()
        for candidate in shard.written:
            split = VALIDATION if is_validation(candidate.prompt, validation_share) else TRAINING
            if kept_only and not candidate.kept:
                split = LEFT_OUT
            if split == TRAINING and max_pairs is not None:
                draw = named_seed(0, "training subset", candidate.key, candidate.prompt)
                drawn.append((draw, len(entries), len(splits)))
            splits.append(split)
        entries.append(Entry(shard.path, bytes(splits)))
    return _leave_out(entries, sorted(drawn)[max_pairs:]) if max_pairs is not None else entries


def _leave_out(entries: list[Entry], pairs: Iterable[tuple[int, int, int]]) -> list[Entry]:
    splits = [bytearray(entry.splits) for entry in entries]
    for _, shard, position in pairs:
        splits[shard][position] = LEFT_OUT
    return [Entry(entry.path, bytes(kept)) for entry, kept in zip(entries, splits, strict=True)]


@dataclass(frozen=True)
class PairSizes:
    """The shapes of a pair, which are those of all: ``noise`` (C, *grid), ``embeds`` name -> size of the last side.

    ``embeds`` is empty where the shards hold no embeddings.
    """

    noise: tuple[int, ...]
    embeds: tuple[tuple[str, int], ...]

    @staticmethod
    def of(pair: NoisePair) -> PairSizes:
        """Return a pair's."""
        embeds = pair.prompt_embeds or {}
        # a mask's last side is the prompt's length, in which prompts may differ
        sizes = ((name, 0 if name == "prompt_mask" else tensor.shape[-1]) for name, tensor in embeds.items())
        return PairSizes(tuple(pair.source_noise.shape), tuple(sorted(sizes)))

    def require(self, other: PairSizes, where: str, first: str) -> None:
        """Refuse a pair of other sizes; pairs without embeddings go with any.

        Raises:
            UserError: names both files.
        """
        if self.noise != other.noise:
            raise UserError(f"{where}: its noise is {other.noise}, that of {first} {self.noise}: sizes cannot be mixed")
        if self.embeds and other.embeds and self.embeds != other.embeds:
            these, those = f"its embeddings are {_said(other.embeds)}", f"those of {first} {_said(self.embeds)}"
            raise UserError(f"{where}: {these}, {those}: backbones cannot be mixed")


def _said(embeds: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{name} of width {width}" if width else name for name, width in embeds)


def first_pairs(entries: Iterable[Entry]) -> Iterator[tuple[str, NoisePair]]:
    """Return the first pair of every shard that is not empty; of addresses, of the first in each folder alone."""
    seen = set()
    for entry in entries:
        path = str(entry.path)
        folder = path.rpartition("/")[0]
        if not entry.splits or (places.is_address(path) and folder in seen):
            continue
        seen.add(folder)
        raw = places.first_sample(entry.path)
        if raw is None:
            raise UserError(f"{path}: holds no pair, its sidecar lists {len(entry.splits)}")
        yield path, schema.decode(raw, path)
