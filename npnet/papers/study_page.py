"""The page of a study: its text, and a table for each finished part with quality, diversity and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from npnet.evaluation.contract import Results
from npnet.papers.asked import Asked
from npnet.papers.jobs import Job, point_of
from npnet.papers.study import Goal, Part, Study
from npnet.report import frontier
from npnet.report.formats import number
from npnet.report.markdown import table as markdown_table
from npnet.report.wording import DAGGER, MARKED, banner, gain_text, shown
from npnet.text import count
from npnet.text import markdown as escaped


@dataclass(frozen=True)
class Made:
    """A part of a study on one setting.

    Attributes:
        jobs: all of its jobs.
        done: its finished evaluations, with their results.
    """

    jobs: Sequence[Job]
    done: Sequence[tuple[Job, Results]]

    @property
    def is_whole(self) -> bool:
        """Return whether every evaluation is finished, with all that is wanted of it."""
        evaluated = sum(job.command == "evaluate" for job in self.jobs)
        return len(self.done) == evaluated and all(job.is_done for job, _ in self.done)

    @property
    def is_final(self) -> bool:
        """Return whether every evaluation is finished, at its full size."""
        return self.is_whole and not any(results["smoke"] for _, results in self.done)


Parts = Mapping[tuple[str, str], Made]
"""(part, setting) -> what is made of it."""


def study_page(name: str, study: Study, parts: Parts, asked: Asked, pictures: Mapping[str, str]) -> str:
    """Return the page, as Markdown.

    Args:
        name: of the study.
        study: the study.
        parts: of the study; unfinished evaluations are not on the page, and it says so.
        asked: what else was said.
        pictures: what is drawn -> its file, see ``pictures_of``.
    """
    page, lacking = [f"# {study.title}", study.intro.strip()], []
    page += [f"![Quality against diversity]({pictures['plot']})"] if "plot" in pictures else []
    for part, wheres in groupby(parts, key=lambda key: key[0]):
        wanted, places = study.parts[part], [where for _, where in wheres]
        if not any(parts[part, where].done for where in places):
            lacking.append(wanted.title)
            continue
        page.append(f"## {wanted.title}")
        page += [wanted.remark] if wanted.remark else []
        for where in places:
            page += _tables(wanted, study, where, parts[part, where], asked)
        if f"sheet_{part}" in pictures:
            page.append(f"![The seeds of some prompts side by side]({pictures[f'sheet_{part}']})")
        if wanted.findings and all(parts[part, where].is_final for where in places):
            page.append(wanted.findings.strip())
    page += _goals(study, parts, asked)
    page += [study.outro.strip()] if study.outro else []
    page += ["## Run it again", f"```bash\nnpnet study {name}\n```"]
    page += [f"Parts that have not run yet: {'; '.join(lacking)}."] if lacking else []
    return "\n\n".join(page) + "\n"


def made_of(jobs: Sequence[Job]) -> Made:
    """Read the results of a part's finished evaluations.

    Raises:
        UserError: existing results cannot be read, or diversity was not measured.
    """
    done = [job for job in jobs if job.command == "evaluate" and job.is_there]
    return Made(jobs, [(job, frontier.read(job.output_dir)) for job in done])


def _tables(part: Part, study: Study, where: str, made: Made, asked: Asked) -> Iterator[str]:
    """Return the table of a part on a setting, and its comparisons."""
    setting, done = asked.setting(where), made.done
    yield f"### On {setting.title}"
    if not done:
        yield "Not run yet."
        return
    pairs = sorted({results["num_pairs"] for _, results in done})
    lacking = "" if made.is_whole else " This part is not finished."
    yield f"{' to '.join(map(str, dict.fromkeys((pairs[0], pairs[-1]))))} pairs in each evaluation.{lacking}"
    yield from {escaped(text) for _, results in done if (text := banner(results))}
    points = [point_of(job) for job, _ in done]
    heading = frontier.heading(done[0][1], list(setting.metrics))
    rows = [
        [point] * any(points) + row
        for point, (_, results) in zip(points, done, strict=True)
        for row in frontier.rows(results, list(setting.metrics))
    ]
    yield markdown_table([""] * any(points) + heading, rows)
    if any(DAGGER in cell for row in rows for cell in row):
        yield f"- {escaped(MARKED)}"
    compared = [
        [point] * any(points) + [f"{one} against {other}", found]
        for point, (_, results) in zip(points, done, strict=True)
        for one, other in part.versus
        if (found := difference(results, one, other, study.metric)) is not None
    ]
    if compared:
        name = f"{study.metric}, difference"
        yield markdown_table([""] * any(points) + ["compared", name], compared)


def difference(results: Results, one: str, other: str, metric: str) -> str | None:
    """Write a paired difference with its interval; None where one of the two was not evaluated."""
    if not {one, other} <= results["methods"].keys():
        return None
    return gain_text(results, metric, results["methods"][one]["versus"][other][metric])


def _goals(study: Study, parts: Parts, asked: Asked) -> Iterator[str]:
    """Return which goals the methods of the first part reach on each setting."""
    first = next(iter(study.parts))
    found = {where: made.done[0][1] for (part, where), made in parts.items() if part == first and made.done}
    if not study.goals or not found:
        return
    rows = [
        [goal.says, *(reached(goal, results, study.metric, study.space) for results in found.values())]
        for goal in study.goals.values()
    ]
    yield "## Goals"
    yield markdown_table(["goal", *(asked.setting(where).title for where in found)], rows)


def reached(goal: Goal, results: Results, metric: str, space: str) -> str:
    """Say which methods reach a goal; where none does, which one with enough diversity comes closest."""
    lower: dict[str, float] = {}
    for label, method in results["methods"].items():
        share = method["diversity"][space]["distance"]["share"]
        cheap = method["cost"]["forwards"] <= goal.forwards
        if label != goal.against and cheap and share >= goal.diversity and goal.against in method["versus"]:
            lower[label] = method["versus"][goal.against][metric]["difference_interval"][0]
    best = sorted((label for label in lower if lower[label] > goal.above), key=lambda label: -lower[label])
    if best:
        return "reached by " + ", ".join(_with_share(results, label, goal, metric, space) for label in best)
    if not lower:
        return f"not reached: no method with at most {count(goal.forwards, 'forward')} has the diversity"
    closest = max(lower, key=lambda label: lower[label])
    return f"not reached; closest: {_with_share(results, closest, goal, metric, space)}"


def _with_share(results: Results, label: str, goal: Goal, metric: str, space: str) -> str:
    share = results["methods"][label]["diversity"][space]["distance"]["share"]
    gain = difference(results, label, goal.against, metric)
    return f"{shown(results, label)} ({gain}; diversity {number(share, 100, 0)} %)"
