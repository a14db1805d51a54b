"""All tables and figures together: their list, and one page with those made on the built-in models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from npnet.papers.asked import Asked
from npnet.papers.jobs import Job
from npnet.papers.page import page
from npnet.papers.page_picture import NAME, is_drawn
from npnet.papers.planning import plan
from npnet.papers.setting import settings
from npnet.papers.table import Table, shown_by, tables
from npnet.report.wording import DAGGER
from npnet.text import count
from npnet.text import markdown as escaped

BUILT_IN = "shapes"
"""What the names of the built-in models' settings begin with."""
SHOWN = {
    "evaluations": "evaluate",
    "meanings": "evaluate",
    "singular_vectors": "collect",
    "gates": "train",
    "toy": "toy",
} | dict.fromkeys(("fid", "controlled"), "generate")
"""What a table shows -> the command that makes it."""
HEAD = """# The papers, table by table

This page is written by `npnet paper all` (`make paper`). `npnet paper TABLE setting=NAME` makes one table or figure of
the three papers on one model. It plans the project's own commands, lists what exists, what is missing and what that
costs, runs the missing commands, and writes `outputs/papers/NAME/TABLE/README.md` with the published figures beside
ours. The same command resumes a run.

```bash
npnet paper list                                    # every table on every model: done, ready, or not possible and why
npnet paper table2 setting=shapes                   # with the network that ships
npnet paper table4 setting=sdxl dry_run=true        # the commands, and the forwards they take
npnet paper table2 setting=sdxl network_path=sdxl.pth   # a released network; marked as optimised for HPSv2
npnet paper table9 setting=shapes smoke=true        # a small test of all its commands, in a separate folder
```

Other settings than `shapes` and `shapes_b` need the model's weights and a GPU.

A table (`conf/table/`) says what varies. A setting (`conf/setting/`) has the rest: model, prompts, seeds, steps,
metrics and training. `methods=[standard,npnet]` compares fewer methods, `keys={prompts.limit: 8}` sets keys of every
evaluation, `train=true` trains the network even if one is shipped, and `inputs=DIR` is the folder of files that are not
downloaded (`npnet paper --help`). The published figures are data (`npnet/papers/published/`); doubtful ones are marked.

Only Shapes, the built-in model, was run. It shows whether a claim holds on a small model with everything else equal,
but not how large an effect is on SDXL. Seconds were measured on a shared machine. Findings of earlier runs, some with
networks of three training seeds, are in [paper_studies.md](paper_studies.md); [frontier.md](frontier.md) shows what a
network costs in diversity.
"""
COUNTED = f"""The last column counts rows: where a paper states a gain, whether ours goes the same way (yes, no), or our
95 % interval holds 0 (undecided). Rows on a metric that a method optimised ({DAGGER}) are not counted."""


def makeable(asked: Asked) -> list[tuple[str, str]]:
    """Return the tables and settings of the built-in models that can be made, in order; each evaluation once."""
    return [
        (name, where)
        for name, wanted in sorted(tables().items(), key=_order)
        for where in settings()
        if where.startswith(BUILT_IN) and not wanted.same_as and wanted.why_not(where, asked.setting(where)) is None
    ]


def book(asked: Asked, stem: str = "README") -> str:
    """Return the page of all that the built-in models can make.

    For a table at smoke size, the page only says that it has run, because its figures mean nothing.

    Args:
        asked: the other options.
        stem: of the page's file, with which the names of its pictures begin.

    Raises:
        UserError: existing results cannot be read.
    """
    whole, small = replace(asked, smoke=False), replace(asked, smoke=True)
    rows, parts = [], []
    for name, where in makeable(whole):
        wanted = shown_by(name)
        jobs, tried = (plan(name, wanted, where, said) for said in (whole, small))
        title, verdicts = escaped(wanted.title), ""
        if _is_shown(wanted, jobs):
            text = page(wanted, where, jobs, whole)
            verdicts = _verdicts(text)
            state = f"[below](#{_anchor(wanted.title)})" + ("" if all(job.is_done for job in jobs) else ", in part")
            text = text.replace(f"]({NAME})", f"]({figure_name(stem, name, where)})")
            heading, _, rest = text.partition("\n\n")
            also = _also(name, where)
            parts.append(f"{heading}\n\n`npnet paper {name} setting={where}`{also}\n\n{rest}")
        elif all(job.is_done for job in tried):
            state = "smoke: all its commands ran, on a few prompts"
        else:
            state = "not run"
        rows.append(f"| `{name}` | {where} | {title} | {state} | {verdicts} |")
    heading = "| table | setting | what it is | here | same direction? |\n| --- | --- | --- | --- | --- |"
    return "\n".join([HEAD, heading, *rows, "", COUNTED, "", *parts]).rstrip() + "\n"


def drawn(asked: Asked) -> list[tuple[str, str, list[Job]]]:
    """Return table, setting and jobs of every picture on the page of all tables."""
    found = [(name, where, plan(name, tables()[name], where, asked)) for name, where in makeable(asked)]
    return [(name, where, jobs) for name, where, jobs in found if is_drawn(tables()[name], jobs)]


def figure_name(stem: str, name: str, where: str) -> str:
    """Return the file of a table's picture, beside the page of all tables."""
    return f"{stem}_{name}_{where}.png"


def _is_shown(table: Table, jobs: Sequence[Job]) -> bool:
    return any(job.is_there for job in shown_jobs(table, jobs)) or not jobs


def _also(name: str, where: str) -> str:
    """Say which other tables and figures the same evaluations show."""
    found = [other for other in tables().values() if other.same_as == name and where in other.settings]
    titles = "; ".join(escaped(other.title.partition(": ")[2]) for other in found)
    return f". It also shows: {titles}." if titles else ""


def _anchor(title: str) -> str:
    """Return the address of a heading within the page."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _verdicts(text: str) -> str:
    """Count the verdicts of a page, without those on a metric that was optimised."""
    lines = [line for line in text.splitlines() if DAGGER not in line]
    found = Counter(match[1] for line in lines if (match := re.search(r"\| (yes|no|undecided) \|$", line)))
    return ", ".join(f"{found[word]} {word}" for word in ("yes", "undecided", "no") if found[word])


def shown_jobs(table: Table, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs whose results a table shows."""
    return [job for job in jobs if job.command == SHOWN[table.shows]]


def listing(asked: Asked) -> str:
    """Return every table and figure on every setting: done, ready, or not possible and why."""
    lines = []
    for name, wanted in sorted(tables().items(), key=_order):
        lines.append(f"{name}  {wanted.title}" + (f" (made by {wanted.same_as})" if wanted.same_as else ""))
        if isinstance(wanted.not_possible, str):
            lines.append(f"  not possible: {wanted.not_possible}")
            continue
        others = []
        for where in settings():
            reason = wanted.why_not(where, asked.setting(where))
            if where not in wanted.settings and where not in wanted.not_possible:
                others.append(where)
            elif reason:
                lines.append(f"  {where}: not possible: {reason}")
            else:
                lines.append(f"  {where}: {_state(name, wanted, where, asked)}")
        lines.append(f"  not in the paper: {', '.join(others)}")
    return "\n".join(lines) + "\n"


def _order(named: tuple[str, Table]) -> list[int | str]:
    """Return a sorting key that puts table2 before table10."""
    words = re.split(r"(\d+)", named[1].title + named[0])
    return [int(word) if word.isdigit() else word for word in words]


def _state(name: str, wanted: Table, where: str, asked: Asked) -> str:
    jobs = plan(name, wanted, where, asked)
    if all(job.is_done for job in shown_jobs(shown_by(name), jobs)):
        return "done" if jobs else "ready, nothing to run"
    todo = count(sum(not job.is_done for job in jobs), "command")
    if missing := next((job.missing for job in jobs if job.missing), None):
        return f"not ready: {missing}; {todo} to run"
    return f"ready, {todo} to run" + ("" if where.startswith(BUILT_IN) else "; published weights are fetched")
