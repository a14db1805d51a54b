"""GenEval 2's list of prompts and questions, read from the user's copy, and the spellings of its answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npnet.data.json_lines import read_json_lines
from npnet.errors import UserError

COUNT = "How many"
"""Begins a question whose answer is a number's word; every other answer is Yes."""
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {word: str(number) for number, word in enumerate(NUMBERS, start=1)}


@dataclass(frozen=True)
class Item:
    """A prompt of the list: how many things it asks for, questions with their answers, and the skill of each."""

    prompt: str
    atom_count: int
    questions: tuple[tuple[str, str], ...]
    skills: tuple[str, ...]


def answers(question: str, answer: str) -> tuple[str, ...]:
    """Return the spellings of the right answer whose probabilities are summed, by the published rule."""
    spelled = (
        (answer, answer.capitalize(), DIGITS.get(answer, "other")) if question.startswith(COUNT) else ("Yes", "yes")
    )
    return tuple(dict.fromkeys(space + spelling for space in ("", " ") for spelling in spelled))


def read_benchmark(path: Path) -> dict[str, Item]:
    """Return the list's items by their prompts, in order.

    Raises:
        UserError: the file cannot be read, or a line is no item of GenEval 2.
    """
    items: dict[str, Item] = {}
    for number, record in read_json_lines(path, f"benchmark={path}"):
        item = _item(record, f"benchmark={path}: line {number}")
        if item.prompt in items:
            raise UserError(f"benchmark={path}: line {number}: the prompt {item.prompt!r} is there already")
        items[item.prompt] = item
    if not items:
        raise UserError(f"benchmark={path}: holds no prompt")
    return items


def _item(record: Any, where: str) -> Item:
    get = record.get if isinstance(record, dict) else {}.get
    prompt, atoms, pairs, skills = (get(key) for key in ("prompt", "atom_count", "vqa_list", "skills"))
    if not isinstance(prompt, str) or type(atoms) is not int or not isinstance(pairs, list) or not pairs:
        raise UserError(f"{where}: needs prompt, atom_count (a whole number), vqa_list and skills")
    if not isinstance(skills, list) or not all(isinstance(skill, str) for skill in skills) or len(skills) != len(pairs):
        raise UserError(f"{where}: skills must name one for each of the {len(pairs)} pairs of vqa_list")
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise UserError(f"{where}: vqa_list must hold pairs of a question and an answer")
        if not pair[0].startswith(COUNT) and pair[1].lower() != "yes":
            raise UserError(f"{where}: the answer to {pair[0]!r} is {pair[1]!r}; Yes is needed, or a question {COUNT}")
    return Item(prompt, atoms, tuple((question, answer) for question, answer in pairs), tuple(skills))
