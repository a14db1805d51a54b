"""Prompt sets, and which seeds each prompt gets."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from npnet.checks import MAX_SEED
from npnet.data import prompt_text
from npnet.errors import UserError, one_line


@dataclass(frozen=True)
class Sample:
    """One prompt with one seed; ``key`` names it in shards and results: prompt number and seed, without dots."""

    prompt_index: int
    prompt: str
    seed: int

    @property
    def key(self) -> str:
        """Return the zero-padded name, the same whoever computes the sample."""
        return f"{self.prompt_index:07d}-{self.seed:010d}"


class Prompts:
    """Base of the prompt sets.

    Whatever the source, ``prompt_text.clean`` decides which texts are prompts; ``limit`` then keeps the first ones.

    Args:
        limit: how many prompts to keep, at least 1; None keeps all.

    Attributes:
        left_out: after ``read``: reason -> how many texts were left out.
    """

    where = "prompts"
    """The setting that named the source, for error lines."""

    def __init__(self, limit: int | None = None) -> None:
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise UserError(f"prompts.limit={limit!r}: a whole number of at least 1 is needed")
        self.limit = limit
        self.left_out: Counter[str] = Counter()

    def read(self) -> list[str]:
        """Return the prompts in their order.

        Raises:
            UserError: the source cannot be read, or holds no prompt.
        """
        self.left_out = Counter()
        texts = self._read()
        prompts = prompt_text.clean(texts, self.left_out)
        if not prompts:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
            raise UserError(f"{self.where}: holds no prompt" + (f" (left out: {reasons})" if reasons else ""))
        return prompts[: self.limit]

    def published(self) -> list[str]:
        """Return the texts by their rows as published, empty and repeated ones included, up to the last one used.

        Raises:
            UserError: the source cannot be read, or holds no prompt.
        """
        last, rows = self.read()[-1], self._read()
        places = [number for number, row in enumerate(rows) if row.strip() == last]
        return rows if self.limit is None else rows[: places[0] + 1]

    def _read(self) -> list[str]:
        raise NotImplementedError


class ShapesPrompts(Prompts):
    """Prompts of the built-in model's grammar.

    Args:
        split: ``train`` or ``held_out`` (a tenth, held out by meaning).
        limit: see ``Prompts``; the order is a fixed shuffle, so a few prompts are a fair sample.
    """

    def __init__(self, split: str, limit: int | None = None) -> None:
        super().__init__(limit)
        if split not in ("train", "held_out"):
            raise UserError(f"prompts.split={split!r}: allowed are train, held_out")
        self.split = split

    def _read(self) -> list[str]:
        from npnet.shapes import grammar

        prompts = grammar.training_prompts() if self.split == "train" else grammar.held_out_prompts()
        # the grammar lists by colour and shape; ordered by a hash, the first few are a fair sample
        return sorted(prompts, key=lambda prompt: hashlib.sha256(prompt.encode()).digest())


class PromptList(Prompts):
    """Prompts written in the configuration: ``prompts.list=[...]``."""

    def __init__(self, list: Sequence[str], limit: int | None = None) -> None:
        super().__init__(limit)
        self.list = [str(prompt).strip() for prompt in list]
        if not all(self.list) or not self.list:
            raise UserError("prompts.list: at least one prompt, and no empty one, is needed")

    def _read(self) -> list[str]:
        return self.list


class PromptFile(Prompts):
    """Prompts of a file: ``.txt`` (one a line), ``.csv``, ``.json`` or ``.jsonl``.

    A table's or a record's prompt is the column ``prompt``, ``prompts``, ``caption`` or ``text``. In a table that was
    written without quoting (HPD's published file), all that follows the columns before the prompt is the prompt, so
    none is cut at a comma. Lists nested in a dictionary are joined in order.
    """

    def __init__(self, path: str | None = None, limit: int | None = None) -> None:
        super().__init__(limit)
        if path is None:
            raise UserError("prompts.path=FILE is needed with prompts=file (.txt, .csv, .json or .jsonl)")
        if not isinstance(path, str | PathLike):
            raise UserError(f"prompts.path={path}: a text is needed (quote a name of digits alone)")
        self.path = Path(path)
        self.where = f"prompts.path={path}"
        if self.path.suffix.lower() not in prompt_text.SUFFIXES:
            raise UserError(f"{self.where}: allowed are {', '.join(prompt_text.SUFFIXES)}")
        if not self.path.is_file():
            raise UserError(f"{self.where}: no such file")

    def _read(self) -> list[str]:
        return read_file(self.path, self.where)


def read_file(path: Path, where: str) -> list[str]:
    """Return the texts of a prompt file; see ``prompt_text.parse``.

    Raises:
        UserError: it cannot be read; begins with ``where``.
    """
    try:
        return prompt_text.parse(path.read_bytes(), path.suffix.lower())
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{where}: {one_line(error)}") from error


def assign_seeds(prompts: Sequence[str], seeds: Mapping[str, Any], seed: int) -> list[Sample]:
    """Give every prompt its seeds.

    Args:
        prompts: the texts, in order.
        seeds: ``list`` (the same seeds for every prompt), or ``range`` [low, high] with ``per_prompt``: drawn from the
            prompt's text, ``seed`` and the range.
        seed: the run's seed.

    Raises:
        UserError: the seeds cannot be drawn as asked.
    """
    from npnet.seeding import prompt_seeds

    check_seeds(seeds)
    if seeds.get("list") is not None:
        return [Sample(i, text, s) for i, text in enumerate(prompts) for s in seeds["list"]]
    low, high = seeds["range"]
    return [
        Sample(index, text, s)
        for index, text in enumerate(prompts)
        for s in prompt_seeds(text, seed, low, high, seeds["per_prompt"])
    ]


def check_seeds(seeds: Mapping[str, Any]) -> None:
    """Refuse a ``seeds`` node that cannot be drawn from.

    Raises:
        UserError: names the key, what was got and what is allowed.
    """

    def whole(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED

    def items(value: Any) -> list[Any]:
        return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []

    given = seeds.get("list")
    if given is not None:
        numbers = items(given)
        if not numbers or not all(whole(s) for s in numbers) or len(set(numbers)) != len(numbers):
            raise UserError(f"seeds.list={given}: a list of distinct whole numbers >= 0 and < 2**63 is needed")
        return
    bounds = items(seeds["range"])
    if len(bounds) != 2 or not all(whole(s) for s in bounds) or bounds[0] > bounds[1]:
        raise UserError(
            f"seeds.range={seeds['range']}: two whole numbers [low,high], 0 <= low <= high < 2**63, are needed"
        )
    count = seeds["per_prompt"]
    if not whole(count) or count < 1 or count > bounds[1] - bounds[0] + 1:
        raise UserError(
            f"seeds.per_prompt={count}: allowed are 1 to {bounds[1] - bounds[0] + 1}, the size of the range"
        )
