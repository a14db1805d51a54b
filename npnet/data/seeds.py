"""Which seeds each prompt gets: the keys ``seeds.range``, ``seeds.per_prompt`` and ``seeds.list``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from npnet.bounds import MAX_SEED
from npnet.data.prompts import PromptSet, Sample
from npnet.description import imported
from npnet.errors import FieldError
from npnet.fields import check_fields

NEEDED = {
    "range": "[low,high] is needed: two whole numbers with 0 <= low <= high < 2**63",
    "list": "a list of distinct whole numbers >= 0 and < 2**63 is needed, or own: the seeds of the prompt file",
}


@dataclass(frozen=True)
class Seeds:
    """How prompts get their seeds.

    Attributes:
        range: lowest and highest seed, both included, that are drawn from.
        per_prompt: how many are drawn for each prompt, from its text and the run's seed.
        list: the same seeds for every prompt, instead of drawing them; ``own``: those that stand beside the prompts in
            their file, as in the official training data.
    """

    range: tuple[int, int] = (0, 1024)
    per_prompt: int = 1
    list: tuple[int, ...] | Literal["own"] | None = None

    def __post_init__(self) -> None:
        try:
            check_fields(self)
        except FieldError as error:
            name = error.key.partition("[")[0]
            raise FieldError(name, getattr(self, name), NEEDED.get(name, error.needed)) from error
        if isinstance(self.list, tuple):
            if not self.list or not all(map(_is_seed, self.list)) or len(set(self.list)) != len(self.list):
                raise FieldError("list", self.list, NEEDED["list"])
        elif self.list is None:
            low, high = self.range
            if not _is_seed(low) or not _is_seed(high) or low > high:
                raise FieldError("range", self.range, NEEDED["range"])
            if not 1 <= self.per_prompt <= high - low + 1:
                raise FieldError("per_prompt", self.per_prompt, f"allowed: 1 to {high - low + 1}, the range's size")

    def number(self, prompts: PromptSet) -> int:
        """Return how many samples ``assign_seeds`` makes, without drawing.

        Raises:
            FieldError: a prompt has no seed of its own, though ``list`` asks for it.
        """
        if self.list == "own":
            bare = [prompt for prompt in prompts.prompts if not prompts.seeds.get(prompt)]
            if bare:
                needed = f"{len(bare)} prompts have no seed in their file, the first: {bare[0]!r}"
                raise FieldError("seeds.list", "own", needed)
            return sum(map(len, prompts.seeds.values()))
        return len(prompts) * (self.per_prompt if self.list is None else len(self.list))

    def __str__(self) -> str:
        """Return where the seeds come from, for a dry run."""
        if self.list == "own":
            return "those of the prompt file"
        return f"drawn from {[*self.range]}" if self.list is None else f"the list {[*self.list]}"


def assign_seeds(prompts: PromptSet, seeds: Seeds, seed: int) -> list[Sample]:
    """Give every prompt its seeds.

    Args:
        prompts: the texts, in order.
        seeds: which.
        seed: the run's seed.

    Raises:
        FieldError: see ``Seeds.number``.
    """
    seeds.number(prompts)
    return [
        Sample(index, text, own)
        for index, text in enumerate(prompts.prompts)
        for own in _seeds_of(text, prompts, seeds, seed)
    ]


def _seeds_of(prompt: str, prompts: PromptSet, seeds: Seeds, seed: int) -> Sequence[int]:
    if seeds.list is None:
        # what draws stands on torch, and a dry run does not draw
        return imported("npnet.seeding:prompt_seeds")(prompt, seed, *seeds.range, seeds.per_prompt)
    if seeds.list == "own":
        return prompts.seeds[prompt]
    return seeds.list


def _is_seed(value: int) -> bool:
    return 0 <= value <= MAX_SEED
