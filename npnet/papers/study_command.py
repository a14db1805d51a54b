"""The command ``npnet study``: a study of our own on the built-in models, with its page and pictures.

    npnet study NAME [dry_run=true] [smoke=true] [parts=[...]] [page=docs/frontier.md]

It plans the project's own commands, runs the missing ones (each can be resumed), and writes one page. With ``page`` the
results are also kept beside the page, and an evaluation that is kept there is not run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from npnet.arguments import describe, parse
from npnet.description import Description
from npnet.fields import Name
from npnet.papers.asked import FOLDER, Asked
from npnet.papers.files import named
from npnet.papers.jobs import Job
from npnet.papers.planning import plan
from npnet.papers.running import described, run_missing, write
from npnet.papers.study import Study, study
from npnet.papers.study_kept import is_kept, keep, with_kept
from npnet.papers.study_page import Parts, made_of, study_page
from npnet.report import frontier

SUMMARY = "Make a study of quality, diversity and cost on the built-in models: npnet study frontier."
POSITIONAL = ("study",)


@dataclass(frozen=True)
class StudySettings(Description):
    """The keys of ``study``.

    Attributes:
        study: its name, a file of conf/study/.
        parts: of it that are run; all by default. The page shows every finished part.
        dry_run: list what is there, what is missing and what it costs, and run nothing.
        folder: of all outputs; that of npnet paper.
        smoke: a small test of every command, in FOLDER/smoke; its figures mean nothing.
        page: the file of the page; by default in the folder. The results are kept beside it, also those of another
            machine. Remove them to run everything again.
    """

    study: Name
    parts: tuple[Name, ...] = ()
    dry_run: bool = False
    folder: Path = FOLDER
    smoke: bool = False
    page: Path | None = None


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns its exit code.

    Raises:
        UserError: an argument cannot be read, there is no such study or part, or a command of it fails.
    """
    if not arguments or {"-h", "--help"} & set(arguments):
        print(describe(StudySettings, "study", SUMMARY, POSITIONAL))
        return 0
    settings = parse(StudySettings, arguments, POSITIONAL)
    asked = Asked(folder=settings.folder, smoke=settings.smoke)
    wanted = study(settings.study)
    chosen = {name: named("part", name, wanted.parts) for name in settings.parts} or wanted.parts
    path = settings.page or asked.root(settings.study) / "README.md"
    planned = {key: with_kept(jobs, asked, path) for key, jobs in jobs_of(settings.study, wanted, asked).items()}
    todo = [job for (part, _), jobs in planned.items() if part in chosen for job in jobs]
    todo = list({job.output_dir: job for job in todo}.values())
    print(described(todo))
    if settings.dry_run:
        return 0
    run_missing(todo)
    parts = {key: made_of(jobs) for key, jobs in planned.items()}
    write(path, study_page(settings.study, wanted, parts, asked, pictures_of(wanted, parts, asked, path)))
    if settings.page is not None and not settings.smoke:
        for (part, _), made in parts.items():
            for job, results in made.done:
                if not is_kept(job, asked):
                    keep(job, results, wanted.parts[part], wanted, asked, path)
    return 0


def jobs_of(name: str, wanted: Study, asked: Asked) -> Mapping[tuple[str, str], list[Job]]:
    """Return the jobs of every part on its settings: (part, setting) -> jobs."""
    return {
        (part, where): plan(f"{name}_{part}", table, where, asked)
        for part, table in wanted.parts.items()
        for where in table.settings
    }


def pictures_of(wanted: Study, parts: Parts, asked: Asked, page: Path) -> dict[str, str]:
    """Draw the plot of the first part and the sheets, beside the page: what is drawn -> its file's name.

    A sheet of pictures that are on another machine stays as it was drawn there.
    """
    return dict(_drawn(wanted, parts, asked, page))


def _drawn(wanted: Study, parts: Parts, asked: Asked, page: Path) -> Iterator[tuple[str, str]]:
    first = next(iter(wanted.parts))
    compared = {
        asked.setting(where).title: made.done[0][1]
        for (part, where), made in parts.items()
        if part == first and made.done
    }
    if compared:
        file = page.with_name(f"{page.stem}.png")
        frontier.plot(compared, wanted.metric, wanted.space, file)
        yield "plot", file.name
    for part, table in wanted.parts.items():
        done = [found for (name, _), made in parts.items() if name == part for found in made.done]
        if table.sheet and done:
            (job, results), *_ = done
            file = page.with_name(f"{page.stem}_sheet.png")
            if not is_kept(job, asked):
                frontier.contact_sheet(job.output_dir, results, table.sheet, wanted.metric, file)
            if file.is_file():
                yield f"sheet_{part}", file.name
