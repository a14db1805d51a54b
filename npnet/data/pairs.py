"""What ``train.py`` trains on: the ``data`` keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from npnet.data import places
from npnet.description import Description, imported
from npnet.fields import AtLeast, AtMost, Below, Count, Name, Seed, Whole


@dataclass(frozen=True)
class Pairs(Description):
    """Pairs that ``collect.py`` wrote, split by prompt.

    Attributes:
        shards: the places of the shards: a folder, an address, or a list of them; see ``places``.
        batch_size: pairs in a batch.
        kept_only: leave out the pairs that the selection rejected.
        validation_share: of the prompts, by a hash of their text; 0 trains on all and validates on none.
        max_pairs: train on at most this many pairs, drawn by a hash; the validation pairs stay the same.
        num_workers: number of loader processes; ``auto`` uses the available cores if a GPU trains, and none on a CPU.
        shuffle_buffer: number of pairs held for shuffling, in all loader processes; 0 keeps the order.
        shuffle_buffer_bytes: limit of their size in bytes; fewer pairs are held if they are large.
        embeddings_cache: folder for the embeddings of shards without them.
        decompositions_cache: folder for the decompositions of large noise, see ``decompositions``; None computes them
            in every epoch.
        seed: of the order.
    """

    runtime: ClassVar[type | str] = "npnet.data.datamodule:PairData"

    shards: Any = None  # ``places.expand`` says what it may be
    batch_size: Count = 64
    kept_only: bool = True
    validation_share: Annotated[float, AtLeast(0), Below(1)] = 0.1
    max_pairs: Count | None = None
    num_workers: Annotated[int, AtLeast(0), AtMost(4096)] | Literal["auto"] = "auto"
    shuffle_buffer: Whole = 4096
    shuffle_buffer_bytes: Count = 1_000_000_000
    embeddings_cache: Name | None = None
    decompositions_cache: Name | None = None
    seed: Seed = 0

    def check(self) -> None:
        """See ``Description.check``.

        Raises:
            UserError: ``shards`` names no place, or one that does not exist.
        """
        places.expand(self.shards)

    def find(self) -> Any:
        """Return checked ``FoundPairs`` for a plan; Lightning is not imported.

        Raises:
            UserError: see ``FoundPairs.check``.
        """
        pairs = imported("npnet.data.found:FoundPairs")(self)
        pairs.check()
        return pairs

    def load(self) -> Any:
        """Return ``PairData``, the data module; ``check`` of it looks at the shards."""
        return self.runtime_class()(self)
