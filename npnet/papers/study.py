"""A study of our own, from a file in ``conf/study/``: tables on the built-in models, and the text around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from npnet.bounds import Number
from npnet.description import Description
from npnet.fields import Count, Name, Share
from npnet.papers.files import named, read_all
from npnet.papers.table import Table
from npnet.paths import config_dir, options


@dataclass(frozen=True)
class Part(Table):
    """One table of a study.

    Attributes:
        versus: pairs of labels that are also compared with each other.
        sheet: number of prompts whose pictures are drawn side by side; 0 draws none.
        findings: Markdown below the tables, written after a run; shown where the part is finished and no smoke test.
    """

    versus: tuple[tuple[Name, Name], ...] = ()
    sheet: int = 0
    findings: str = ""


@dataclass(frozen=True)
class Goal(Description):
    """What a method should reach, compared with another one.

    Attributes:
        says: the goal in words.
        against: label of the other method.
        forwards: at most so many denoiser forwards a picture.
        above: the lower end of the interval of the difference lies above it, in the metric's own units.
        diversity: at least this share of standard's.
    """

    says: Name
    against: Name
    forwards: Count
    above: Number
    diversity: Share


@dataclass(frozen=True)
class Study(Description):
    """A study.

    Attributes:
        title: of its page.
        intro: Markdown above the tables.
        outro: Markdown below them.
        metric: the quality that the goals and the plot are about; nothing may have optimised it.
        space: the diversity that they are about.
        parts: name -> table; the name is part of the folders' names.
        goals: name -> goal, for the first part.
    """

    title: Name
    intro: str
    metric: Name
    space: Name
    parts: dict[str, Part]
    outro: str = ""
    goals: dict[str, Goal] = field(default_factory=dict)


@cache
def studies() -> Mapping[str, Study]:
    """Return every study by its name.

    Raises:
        UserError: a file is not of this form; names it.
    """
    return read_all(Study, options("study", [config_dir()]).values())


def study(name: str) -> Study:
    """Return a study.

    Raises:
        UserError: there is none of this name.
    """
    return named("study", name, studies())
