"""The pairs that training finds in shards: their number, and whether they go together; without Lightning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from npnet.data import places
from npnet.data.index import LEFT_OUT, TRAINING, VALIDATION, Entry, PairSizes, first_pairs, make_index
from npnet.data.pairs import Pairs
from npnet.data.shards import Shard
from npnet.errors import FieldError, UserError
from npnet.records import NoisePair


class FoundPairs:
    """Pairs that ``collect.py`` wrote, split by prompt.

    Args:
        asked: which.

    Attributes:
        places: of the shards.
        entries: the shards, once ``check`` has found them.
        tars: place -> SHA-256 of each shard's tar, as its sidecar says, once ``check`` has found them.
        request: what the first shards were collected with; empty where they do not say.
        holds_embeddings: whether every shard does, as far as ``check`` has looked.
        pair_bytes: of the largest pair that ``check`` has read.
        metrics: whose scores every shard holds, as far as ``check`` has looked.
        sizes: what a network is built for, see ``sizes_of``; empty until ``check``.
    """

    def __init__(self, asked: Pairs) -> None:
        self.asked, self.places = asked, places.expand(asked.shards)
        self.entries: list[Entry] = []
        self.tars: dict[str, str] = {}
        self.request: dict[str, Any] = {}
        self.holds_embeddings, self.pair_bytes = True, 0
        self.metrics: list[str] = []
        self.sizes: dict[str, Any] = {}
        self._first: tuple[PairSizes, str] | None = None

    def check(self) -> None:
        """Find the shards and look at the first pair of each (see ``first_pairs``), before anything is loaded.

        Raises:
            UserError: no such place, no finished shard in it, no pair that training could use, or shards that do not
                go together.
        """
        asked = self.asked
        self.entries = make_index(self._found(), asked.validation_share, asked.kept_only, asked.max_pairs)
        if not self.num_samples(validation=False) and (held := self.num_samples(validation=True)):
            raise FieldError(
                "data.validation_share",
                asked.validation_share,
                f"all {held} pairs would be validation pairs, and none is left for training; choose a smaller share",
            )
        if not self.num_samples(validation=False):
            what = "kept pair" if asked.kept_only else "pair"
            raise UserError(f"data.shards={','.join(self.places)}: no {what} to train on in {len(self.entries)} shards")
        for where, pair in first_pairs(self.entries):
            sizes = PairSizes.of(pair)
            self.holds_embeddings &= bool(sizes.embeds)
            self.metrics = [label for label in pair.scores if self._first is None or label in self.metrics]
            tensors = [pair.source_noise, pair.golden_noise, *(pair.prompt_embeds or {}).values()]
            self.pair_bytes = max(self.pair_bytes, sum(tensor.nbytes for tensor in tensors))
            if self._first is None or (sizes.embeds and not self._first[0].embeds):
                first, self._first = self._first, (sizes, where)
                self.sizes = sizes_of(pair)
                if first is None:
                    continue
                sizes, where = first
            self._first[0].require(sizes, where, self._first[1])

    def num_samples(self, validation: bool) -> int:
        """Return how many pairs the training or the validation split holds."""
        split = VALIDATION if validation else TRAINING
        return sum(entry.count(split) for entry in self.entries)

    def prompts(self) -> list[str]:
        """Return the distinct prompts of both splits, from the sidecars."""
        found: dict[str, None] = {}
        for shard, entry in zip(self._found(), self.entries, strict=True):
            chosen = zip(shard.written, entry.splits, strict=True)
            found |= dict.fromkeys(candidate.prompt for candidate, split in chosen if split != LEFT_OUT)
        return list(found)

    def _found(self) -> Iterator[Shard]:
        for shard in places.find(self.places):
            self.request = self.request or shard.request
            self.tars[str(shard.path)] = shard.sidecar["sha256"]
            yield shard


def sizes_of(pair: NoisePair) -> dict[str, Any]:
    """Return what a network is built for, by the names of its arguments: of the noise, and of embeddings if any."""
    embeds = pair.prompt_embeds or {}
    sizes: dict[str, Any] = {
        "latent_channels": pair.source_noise.shape[0],
        "latent_size": list(pair.source_noise.shape[1:]),
    }
    if "prompt_embeds" in embeds:
        sizes["prompt_length"], sizes["prompt_embed_dim"] = embeds["prompt_embeds"].shape
        sizes["pooled_embed_dim"] = len(embeds["pooled_prompt_embeds"]) if "pooled_prompt_embeds" in embeds else 0
    return sizes
