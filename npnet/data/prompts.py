"""Prompt sets: descriptions of where prompts come from, each of which reads them."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from npnet.data import prompt_text
from npnet.data.prompt_text import Entry
from npnet.description import Description, imported
from npnet.errors import FieldError, reworded
from npnet.fields import Count

FILES = ", ".join(prompt_text.SUFFIXES)


@dataclass(frozen=True)
class Sample:
    """One prompt with one seed; ``key`` names it in shards and results: prompt number and seed, without dots."""

    prompt_index: int
    prompt: str
    seed: int

    @property
    def key(self) -> str:
        """Return the zero-padded name, which is the same for every worker."""
        return f"{self.prompt_index:07d}-{self.seed:010d}"


@dataclass(frozen=True)
class PromptSet:
    """The prompts that were read.

    Attributes:
        prompts: distinct texts, in order.
        left_out: reason -> how many texts of the source were left out.
        seeds: prompt -> the seeds that stand beside it in its source, where they do.
    """

    prompts: tuple[str, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True)
class Prompts(Description):
    """Base of the prompt sets.

    Whatever the source, ``prompt_text.fault`` decides which texts are prompts; ``limit`` then keeps the first ones.

    Attributes:
        limit: how many prompts to keep; None keeps all.
    """

    limit: Count | None = field(default=None, kw_only=True)

    def read(self) -> PromptSet:
        """Return the prompts in their order, with the counts of what was left out.

        Raises:
            FieldError: the source cannot be read, or holds no prompt.
        """
        left_out: Counter[str] = Counter()
        found = prompt_text.with_seeds(self.entries(), left_out)
        if not found:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
            raise FieldError(*self.source(), "holds no prompt" + (f" (left out: {reasons})" if reasons else ""))
        kept = dict(list(found.items())[: self.limit])
        return PromptSet(tuple(kept), dict(left_out), {prompt: seeds for prompt, seeds in kept.items() if seeds})

    def published(self) -> list[str]:
        """Return the texts by their rows as published, empty and repeated ones included, up to the last one used.

        Raises:
            FieldError: the source cannot be read, or holds no prompt.
        """
        last, rows = self.read().prompts[-1], [entry.text for entry in self.entries()]
        places = [number for number, row in enumerate(rows) if row.strip() == last]
        return rows if self.limit is None else rows[: places[0] + 1]

    @abstractmethod
    def source(self) -> tuple[str, object]:
        """Return the key that names the source, and its value, for error lines."""

    @abstractmethod
    def entries(self) -> Sequence[Entry]:
        """Return the texts of the source, whatever they are."""


@dataclass(frozen=True)
class ShapesPrompts(Prompts):
    """Prompts of the built-in model's grammar.

    Attributes:
        split: ``train`` or ``held_out`` (a tenth, held out by meaning). The order is a fixed shuffle, so a few prompts
            are a fair sample.
    """

    split: Literal["train", "held_out"]

    def source(self) -> tuple[str, object]:
        """See ``Prompts.source``."""
        return "split", self.split

    def entries(self) -> Sequence[Entry]:
        """See ``Prompts.entries``."""
        kind = {"train": "training_prompts", "held_out": "held_out_prompts"}[self.split]
        prompts = imported(f"npnet.shapes.grammar:{kind}")()
        # the grammar lists by colour and shape; ordered by a hash, the first few are a fair sample
        return [Entry(text) for text in sorted(prompts, key=lambda text: hashlib.sha256(text.encode()).digest())]


@dataclass(frozen=True)
class PromptList(Prompts):
    """Prompts written in the configuration: ``prompts.list=[...]``."""

    list: tuple[str | int | float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.list or not all(str(prompt).strip() for prompt in self.list):
            raise FieldError("list", self.list, "at least one prompt is needed, and none may be empty")

    def source(self) -> tuple[str, object]:
        """See ``Prompts.source``."""
        return "list", self.list

    def entries(self) -> Sequence[Entry]:
        """See ``Prompts.entries``."""
        return [Entry(str(prompt)) for prompt in self.list]


@dataclass(frozen=True)
class PromptFile(Prompts):
    """Prompts of a file: ``.txt`` (one a line), ``.csv``, ``.tsv``, ``.json``, ``.jsonl`` or ``.parquet``.

    A table's or a record's prompt is the column ``prompt``, ``prompts``, ``caption`` or ``text``; a column ``seed`` is
    its own seed (``seeds.list=own``). In a table that was written without quoting (HPD's published file), all that
    follows the columns before the prompt is the prompt, so none is cut at a comma. JSON may be lines, lists nested in
    records, COCO's captions, or names with their texts.
    """

    path: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path is None:
            raise FieldError("path", None, f"FILE is needed with prompts=file ({FILES})")
        if self.path.suffix.lower() not in prompt_text.SUFFIXES:
            raise FieldError("path", self.path, f"allowed: {FILES}")

    def check(self) -> None:
        """See ``Description.check``."""
        require_file(self.path)

    def source(self) -> tuple[str, object]:
        """See ``Prompts.source``."""
        return "path", self.path

    def entries(self) -> Sequence[Entry]:
        """See ``Prompts.entries``."""
        require_file(self.path)
        assert self.path is not None
        return read_file(self.path, "path", self.path)


def require_file(path: Path | None) -> None:
    """Refuse a path that is no file.

    Raises:
        FieldError: names ``path``.
    """
    if path is not None and not path.is_file():
        raise FieldError("path", path, "no such file")


def read_file(path: Path, key: str, value: object) -> list[Entry]:
    """Return the entries of a prompt file; see ``prompt_text.parse``.

    Args:
        path: of the file.
        key: that named it, for the error.
        value: of that key.

    Raises:
        FieldError: it cannot be read.
    """
    suffix = path.suffix.lower()
    with (
        reworded(ValueError, partial(FieldError, key, value)),
        reworded(OSError, partial(FieldError, key, value), "cannot be read: "),
    ):
        if suffix == ".parquet":
            return imported("npnet.data.parquet:read_entries")(path)
        return prompt_text.parse(path.read_bytes(), suffix)
