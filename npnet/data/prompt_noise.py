"""Prompts with noise drawn for each epoch, in place of pairs: for training that needs no golden noise."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from npnet import seeding
from npnet.data.index import is_validation
from npnet.errors import UserError
from npnet.records import NoisePair


class PromptNoise(L.LightningDataModule):
    """Batches of prompts, each with several noises one after the other.

    A noise depends only on the seed, the epoch, the prompt and its number, so a resumed run has the same noises. A
    validation has the same prompts and noises every time.

    Args:
        prompts: distinct texts.
        shape: ``(C, *grid)`` of the noise.
        batch_size: samples in a batch; what is left over after whole prompts goes unused.
        noises_per_prompt: of the training batches.
        validation_share: of the prompts, by a hash of their text; 0 trains on all and validates on none.
        validation_prompts: of these, so many are used.
        validation_noises: of each.
        seed: of the order and the noise.
        request: what the evaluation on the way and the export may read, as of a collection.

    Attributes:
        position: epoch and batches of it that a run was given already.
        decompose: has no effect: networks decompose by themselves here.
    """

    holds_embeddings = True  # they come from the model that draws

    def __init__(
        self,
        prompts: Sequence[str],
        shape: Sequence[int],
        batch_size: int,
        noises_per_prompt: int = 1,
        validation_share: float = 0.1,
        validation_prompts: int = 32,
        validation_noises: int = 4,
        seed: int = 0,
        request: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        held_out = [prompt for prompt in prompts if is_validation(prompt, validation_share)]
        self.validating = held_out[:validation_prompts]
        self.training = [prompt for prompt in prompts if not is_validation(prompt, validation_share)]
        self.shape, self.batch_size, self.seed = tuple(shape), batch_size, seed
        self.noises_per_prompt, self.validation_noises = noises_per_prompt, validation_noises
        self.request = dict(request or {})
        self.position = (0, 0)
        self.decompose: Any = None

    def check(self) -> None:
        """Refuse prompts if none is left for training.

        Raises:
            UserError: says so.
        """
        if not self.training:
            raise UserError("prompts: none is left to train on; choose a smaller data.validation_share")

    def first(self) -> NoisePair:
        """Return a sample of the shape that all have."""
        noise = self._batch(self.training[:1], 1, "first")["source_noise"][0]
        return NoisePair("", self.training[0], 0, noise, noise, {}, kept=True)

    def num_samples(self, validation: bool) -> int:
        """Return the noises of an epoch, or of the validation."""
        if validation:
            return len(self.validating) * self.validation_noises
        return len(self.training) * self.noises_per_prompt

    def num_batches(self, world_size: int) -> int:
        """Return the batches of an epoch of each of ``world_size`` training processes."""
        return len(_shares(len(self.training), self._prompts_at_once(), 0, world_size))

    def train_dataloader(self) -> Epochs:
        """Return the shuffled training batches."""
        return Epochs(self, *self.position)

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Return the validation batches; none where no prompt is held out."""
        at_once = max(1, self.batch_size // self.validation_noises)
        batches = [
            self._batch(self.validating[i : i + at_once], self.validation_noises, "validation")
            for i in range(0, len(self.validating), at_once)
        ]
        # with a generator of its own it leaves torch's random state alone
        return DataLoader(batches, batch_size=None, generator=torch.Generator()) if batches else []  # type: ignore[arg-type]

    def batches(self, epoch: int, skip: int = 0) -> Iterator[dict[str, Any]]:
        """Make the training batches of an epoch, of this process, less the first ones."""
        rank, world_size = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        order = list(self.training)
        random.Random(seeding.named_seed(self.seed, "prompt order", epoch)).shuffle(order)
        shares = _shares(len(order), self._prompts_at_once(), rank, world_size)
        for share in shares[skip:]:
            yield self._batch([order[i] for i in share], self.noises_per_prompt, "training", epoch)

    def _prompts_at_once(self) -> int:
        return max(1, self.batch_size // self.noises_per_prompt)

    def _batch(self, prompts: Sequence[str], noises: int, *purpose: object) -> dict[str, Any]:
        rows = list(itertools.product(prompts, range(noises)))
        seeds = [seeding.named_seed(self.seed, "noise of a prompt", *purpose, *row) for row in rows]
        return {"source_noise": seeding.source_noises(seeds, self.shape), "prompts": [prompt for prompt, _ in rows]}


class Epochs:
    """The training batches, epoch after epoch, from a place in one of them on.

    Args:
        data: makes them.
        epoch: that the first iteration gives.
        delivered: batches of it that were trained on already.
    """

    def __init__(self, data: PromptNoise, epoch: int = 0, delivered: int = 0) -> None:
        self.data, self._next = data, (epoch, delivered)

    def __len__(self) -> int:
        return self.data.num_batches(1 if self.data.trainer is None else self.data.trainer.world_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # a generator, so that an iterator that Lightning asks for and never uses takes no epoch
        (epoch, delivered), self._next = self._next, (self._next[0] + 1, 0)
        yield from self.data.batches(epoch, delivered)


def _shares(count: int, at_once: int, rank: int, world_size: int) -> list[range]:
    """Return a process's batches as ranges of the order; every process has equally many, of equal sizes."""
    found = []
    for start in range(0, count, at_once * world_size):
        size = min(at_once * world_size, count - start) // world_size
        if size:
            found.append(range(start + rank * size, start + (rank + 1) * size))
    return found
