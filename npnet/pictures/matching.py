"""Match pictures to prompts by the names in a folder.

These rules are tried in order, each for all files:

1. **our own** pictures (``0000012-0000000345.webp``, what ``evaluate.py`` leaves in ``images/METHOD/``): the number is
   the prompt's among those that the evaluation used, which leaves out empty and repeated texts;
2. a **caption**: a name, or the name of its folder, that is a prompt's text, whatever stands between its words and
   whatever number goes before it or follows (``a_red_car-2.png``, ``a red car/0.png``);
3. a **number** that begins the name (``12.png``, ``00012-3.jpg``, ``12_3.png``): the row of the prompt file as
   published, repeated and empty rows included, counted from 0, or from 1 where they run up to the number of rows;
4. the **order** of names that one number alone tells apart (``IMG_0007.png``, ``IMG_0008.png``): one file for each
   row. Other names, such as shortened captions, do not determine the order.

An ambiguous folder is refused; the error names the first picture that could belong to two prompts, and both prompts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from npnet.data.prompt_text import clean
from npnet.errors import UserError, shown

OWN_KEY = re.compile(r"([0-9]{7})-[0-9]{10}")
NUMBER = re.compile(r"([0-9]{1,12})(?:[-_ ].*)?", re.DOTALL)
AROUND = re.compile(r"^[0-9]+[-_ .]+|[-_ .]+[0-9]+$|[-_ .]*\([0-9]+\)$")
"""A number before or after a caption."""
WAYS = (
    "give their prompts in a metadata.jsonl beside them, or name the files NUMBER.png or NUMBER-ANYTHING.png by the "
    "row of their prompt in the file, from 0"
)

Matched = list[tuple[Path, str]]


def match(source: Path, files: Sequence[Path], rows: Sequence[str]) -> Matched:
    """Return every file with its prompt.

    Args:
        source: the folder that was named.
        files: the pictures in and below it, in natural order; at least one.
        rows: the texts of the prompt set as published, see ``layout.find_pictures``.

    Raises:
        UserError: they do not match, or could be read in two ways.
    """
    rows = [row.strip() for row in rows]
    own = [OWN_KEY.fullmatch(path.stem) for path in files]
    if all(own):
        return _own(source, files, [int(key[1]) for key in own if key], clean(rows, Counter()))
    captions = _captions(source, files, rows)
    if len(captions) == len(files):
        return list(captions.items())
    numbers = {path: int(number[1]) for path in files if (number := NUMBER.fullmatch(path.stem))}
    named = captions.keys() | numbers.keys()
    if len(named) == len(files):
        first = _first_number(source, numbers, rows)
        for path in captions.keys() & numbers.keys() if len(captions) < len(files) else ():
            row = rows[numbers[path] - first] if 0 <= numbers[path] - first < len(rows) else ""
            if captions[path] != row:
                other = next(path for path in files if path not in captions)
                said = f"{_name(source, path)} is of {shown(captions[path], 80)!r} by its name, so its number is no row"
                _refuse(source, f"{said}, and neither may be that of {_name(source, other)}")
        rest = {path: numbers[path] - first for path in files if path not in captions}
        by_number = dict(_numbered(source, rest, rows))
        return [(path, captions.get(path) or by_number[path]) for path in files]
    if named:
        without = next(path for path in files if path not in named)
        one = next(path for path in files if path in named)
        _refuse(source, f"{_name(source, one)} names its prompt, {_name(source, without)} does not")
    return _ordered(source, files, rows)


def _own(source: Path, files: Sequence[Path], numbers: Sequence[int], prompts: Sequence[str]) -> Matched:
    folders = list(dict.fromkeys(path.parent for path in files))
    if len(folders) > 1:
        names = ", ".join(f.name for f in folders[:5])
        several = f"images={source}: holds the pictures of several methods ({names})"
        raise UserError(f"{several}, which are scored one by one: images={folders[0]}")
    _check_rows(source, files, numbers, len(prompts), "prompts of the evaluation")
    return [(path, prompts[number]) for path, number in zip(files, numbers, strict=True)]


def _captions(source: Path, files: Sequence[Path], rows: Sequence[str]) -> dict[Path, str]:
    """Return the files whose name, or whose folder's name, is a prompt's text."""
    prompts: dict[str, str] = {}
    shared: set[str] = set()
    for row in dict.fromkeys(rows):
        words = _words(row)
        if prompts.setdefault(words, row) != row:
            shared.add(words)  # two prompts that a name cannot tell apart
    found = {}
    for path in files:
        names = [path.stem, *(folder.name for folder in path.parents if source in folder.parents)]
        texts = [text for name in names for text in (name, AROUND.sub("", name))]
        words = next((w for text in texts if (w := _words(text)) in prompts and not w.isdigit() and w), "")
        if words and words in shared:
            same = [row for row in dict.fromkeys(rows) if _words(row) == words]
            _refuse_two(source, path, same[0], same[1])
        if words:
            found[path] = prompts[words]
    return found


def _numbered(source: Path, numbers: Mapping[Path, int], rows: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Return every file with the prompt of its row; ``numbers`` are counted from 0."""
    _check_folders(source, numbers, rows)
    _check_rows(source, list(numbers), list(numbers.values()), len(rows), "prompts")
    for path, number in numbers.items():
        if not rows[number]:
            before = next((row for row in reversed(rows[:number]) if row), "")
            after = next((row for row in rows[number:] if row), "")
            _refuse_two(source, path, before, after, f"row {number} of the prompts is empty")
        yield path, rows[number]


def _check_folders(source: Path, numbers: Mapping[Path, int], rows: Sequence[str]) -> None:
    """Refuse numbers that restart in each folder: they may count a folder's pictures, or the prompts."""
    folders = list(dict.fromkeys(path.parent for path in numbers))
    seen: dict[int, Path] = {}
    again = []
    for path, number in numbers.items():
        if seen.setdefault(number, path).parent != path.parent:
            again.append((path, number))
    for path, number in again:
        named = NUMBER.fullmatch(path.parent.name)
        place = int(named[1]) if named else folders.index(path.parent)
        one, other = (rows[i] if i < len(rows) else "" for i in (number, place))
        if one and other and one != other:
            _refuse_two(source, path, one, other, f"{_name(source, seen[number])} has the same number")
    if again:
        path, number = again[0]
        _refuse(source, f"{_name(source, path)} and {_name(source, seen[number])} have the same number")


def _first_number(source: Path, numbers: Mapping[Path, int], rows: Sequence[str]) -> int:
    """Return whether the numbers count from 0 or from 1."""
    found = set(numbers.values())
    if 0 in found or 1 not in found or max(found) > len(rows):
        return 0
    if max(found) == len(rows):
        return 1
    path = next(path for path, number in numbers.items() if number == 1)
    return _refuse_two(source, path, rows[1], rows[0], "the numbers may count from 0 or from 1")


def _ordered(source: Path, files: Sequence[Path], rows: Sequence[str]) -> Matched:
    prompts = clean(rows, Counter())
    texts = [row for row in rows if row]
    if len(files) == len(prompts) and len(prompts) != len(texts):
        path, one, other = next(t for t in zip(files, texts, prompts, strict=False) if t[1] != t[2])
        _refuse_two(source, path, one, other, f"{len(texts) - len(prompts)} prompts of the file repeat others")
    if len(files) != len(texts):
        raise UserError(f"images={source}: {len(files)} pictures do not match {len(prompts)} prompts; {WAYS}")
    if len(prompts) > 1 and not _is_counted([_name(source, path) for path in files]):
        two = list(dict.fromkeys(texts))
        _refuse_two(source, files[0], two[0], two[1], "the names do not count, so their order says nothing")
    return list(zip(files, texts, strict=True))


def _is_counted(names: Sequence[str]) -> bool:
    """Say whether one number alone tells the names apart; suffixes do not count."""
    parts = [re.split(r"([0-9]+)", name.rpartition(".")[0] or name) for name in names]
    if len({len(part) for part in parts}) > 1:
        return False
    columns = [column for column in zip(*parts, strict=True) if len(set(column)) > 1]
    return len(columns) == 1 and columns[0][0].isdigit() and len(set(columns[0])) == len(names)


def _check_rows(source: Path, files: Sequence[Path], numbers: Sequence[int], count: int, what: str) -> None:
    wrong = next((path for path, number in zip(files, numbers, strict=True) if not 0 <= number < count), None)
    if wrong is not None:
        unlike = f"images={source}: {len(files)} pictures do not match {count} {what}"
        raise UserError(f"{unlike}: there is none of the number of {_name(source, wrong)}; {WAYS}")


def _refuse_two(source: Path, path: Path, one: str, other: str, why: str = "") -> NoReturn:
    reason = f": {why}" if why else ""
    _refuse(source, f"{_name(source, path)} could be of {shown(one, 80)!r} or of {shown(other, 80)!r}{reason}")


def _refuse(source: Path, problem: str) -> NoReturn:
    raise UserError(f"images={source}: {problem}; {WAYS}")


def _name(source: Path, path: Path) -> str:
    return str(path.relative_to(source))


def _words(text: str) -> str:
    """Return the letters and digits of a text, lower case, with one space between words."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
