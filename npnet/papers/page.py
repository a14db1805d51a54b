"""A table's page: the paper's figures beside the figures found here, row by row."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from npnet.description import imported
from npnet.evaluation.contract import Results, Versus, read_results
from npnet.papers import published
from npnet.papers.asked import Asked
from npnet.papers.jobs import Job, point_of, published_place, word
from npnet.papers.page_picture import NAME, is_drawn
from npnet.papers.setting import Setting
from npnet.papers.table import Table
from npnet.report import diversity
from npnet.report.formats import NONE, number, seconds_text, with_interval
from npnet.report.markdown import table as markdown_table
from npnet.report.wording import DAGGER, MARKED, banner, gain_text, metric_decimals, metric_heading
from npnet.text import markdown as escaped

HOMES = {"toy": "toy", "meanings": "meanings"}
"""What a table shows -> the module of this room that writes it; others are in ``readings``."""
VERDICT = "same direction?"
NOISE = "The noise that each method samples from; its norm is a share of that of white noise"
COSTS = ["method", "forwards a picture", "seconds a picture", "peak memory, MB"]
_NOTHING: tuple[float | None, float | None, list[str]] = (None, None, [])


def page(table: Table, where: str, jobs: Sequence[Job], asked: Asked) -> str:
    """Return the page of a table on a setting, as Markdown.

    Args:
        table: what varies.
        where: name of the setting on which it was made.
        jobs: the jobs that made it; unfinished ones are not on the page.
        asked: what else was said.

    Raises:
        UserError: existing results cannot be read.
    """
    setting = asked.setting(where)
    parts = [f"## {table.title}"]
    if table.shows == "evaluations":
        found = _scores(table, where, setting, [job for job in jobs if job.command == "evaluate"])
    else:
        found = imported(f"npnet.papers.{HOMES.get(table.shows, 'readings')}:{table.shows}")(
            table, where, setting, jobs, asked
        )
    parts += [] if table.shows == "toy" else [f"On {setting.title}."]
    if table.claims:
        said = ["The paper says, without figures:" if table.published is None else "The paper says besides:"]
        parts.append("\n".join([*said, "", *(f"- {escaped(claim)}" for claim in table.claims)]))
    parts += [escaped(table.remark)] if table.remark else []
    return "\n\n".join([*parts, *found]) + "\n"


def reports(jobs: Sequence[Job], folder: Path) -> str:
    """Return links to the galleries of the evaluations: their own reports."""
    done = [job.output_dir for job in jobs if job.command == "evaluate" and job.is_there]
    places = [Path(os.path.relpath(path, folder)).as_posix() for path in done]
    links = [f"[{place}]({place}/report.html)" for place in places]
    said = "Pictures of the same prompt and noise side by side, and the largest gains and losses"
    return f"\n{said}: {', '.join(links)}\n" if links else ""


def _scores(table: Table, where: str, setting: Setting, jobs: Sequence[Job]) -> list[str]:
    """Return the parts of a page of evaluations."""
    done = [(job, read_results(job.output_dir / "results.json")) for job in jobs if job.is_there]
    reads = table.reads_on.get(where, setting.reads)
    parts = [_extent(setting, jobs, done)]
    parts += [escaped(text) for text in sorted(filter(None, {banner(results) for _, results in done}))]
    parts += [f"![{escaped(table.title)}]({NAME})"] if is_drawn(table, jobs) else []
    places = _places(done)
    rows: list[list[str]] = []
    slips: dict[str, None] = {}
    for job, results in done:
        leading = _leading(setting, places, job)
        for row, said in _rows(table, table.published_backbone(where, setting), reads, job, results):
            rows.append([*leading, *row])
            slips |= dict.fromkeys(said)
    heading = ["method", "metric", "published", "published gain", "ours"]
    heading = [*places, *heading, f"our gain on {table.baseline}", "winning rate, %", VERDICT]
    spread = diversity.common_columns([results for _, results in done])
    costs = [
        [*_leading(setting, places, job), label, *_cost(results, label), *diversity.cells_under(spread, results, label)]
        for job, results in done
        for label in results["methods"]
    ]
    unpublished = {"published", "published gain", VERDICT} if table.published is None else set()
    parts += [_without(unpublished, heading, rows), markdown_table([*places, *COSTS, *spread], costs)]
    noise = [[*_leading(setting, places, job), *row] for job, results in done for row in diversity.noise_rows(results)]
    parts += [f"{NOISE}:", markdown_table([*places, *diversity.noise_heading()], noise)] if noise else []
    return [*parts, *_notes(table, reads, rows, slips)]


def _without(columns: set[str], heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table without some of its columns."""
    kept = [place for place, name in enumerate(heading) if name not in columns]
    return markdown_table([heading[place] for place in kept], [[row[place] for place in kept] for row in rows])


def _notes(
    table: Table, reads: Mapping[str, str], rows: Sequence[Sequence[str]], slips: Mapping[str, None]
) -> list[str]:
    """Return notes for readers of the rows."""
    notes = [f"- Of the published figures: {escaped(text)}" for text in slips]
    if table.published is None and not table.claims:
        notes.append("- The paper draws this and prints no figures.")
    if table.published is not None and any(ours != theirs for ours, theirs in reads.items()):
        pairs = ", ".join(f"{ours} beside {theirs}" for ours, theirs in reads.items())
        notes.append(escaped(f"- Other metrics than the paper's ({pairs}): only directions can be compared."))
    if any(DAGGER in cell for row in rows for cell in row):
        notes.append(f"- {escaped(MARKED)}")
    return ["\n".join(notes)] if notes else []


def _extent(setting: Setting, jobs: Sequence[Job], done: Sequence[tuple[Job, Results]]) -> str:
    """Say how much was compared, and of what where all of it is of the same prompts."""
    pairs = sorted({results["num_pairs"] for _, results in done})
    counted = " to ".join(str(count) for count in dict.fromkeys((*pairs[:1], *pairs[-1:]))) or "0"
    prompts = dict.fromkeys(named_prompts(setting, job.place["prompts"]) for job, _ in done)
    of = f" of {escaped(next(iter(prompts)))}" if len(prompts) == 1 else ""
    said = f"{counted} pairs{of} in each evaluation. Brackets are 95 % confidence intervals over prompts."
    finished = sum(job.is_done for job in jobs)
    return said if finished == len(jobs) else f"{said} {finished} of {len(jobs)} evaluations are finished."


def _places(done: Sequence[tuple[Job, Results]]) -> list[str]:
    """Return the keys that tell the evaluations of a table apart; ``prompts`` only where there are several sets."""
    keys = dict.fromkeys(key for job, _ in done for key in job.place)
    several = len({job.place["prompts"] for job, _ in done}) > 1
    return [key for key in keys if key != "prompts" or several]


def _leading(setting: Setting, places: Sequence[str], job: Job) -> list[str]:
    """Return where in its table an evaluation stands, as cells."""
    return [named_prompts(setting, job.place[k]) if k == "prompts" else word(job.place[k]) for k in places]


def named_prompts(setting: Setting, prompts: str) -> str:
    """Return a paper's prompt set by the name it has on a setting."""
    found = setting.prompts.get(prompts)
    return prompts if found is None or found.use == "file" else found.use


def _rows(
    table: Table, backbone: str, reads: Mapping[str, str], job: Job, results: Results
) -> Iterator[tuple[list[str], list[str]]]:
    figures = published.table(table.published) if table.published else None
    for label, method in results["methods"].items():
        for metric, entry in method["metrics"].items():
            theirs = reads.get(metric, metric)
            value, gain, said = _NOTHING
            if figures is not None and theirs in figures.metrics:
                value, gain, said = _published(figures, table, backbone, job, label, theirs)
            scale, digits = entry["display_scale"], metric_decimals(results, metric)
            mark = DAGGER if entry["optimised"] else ""
            ours = with_interval(entry["mean"], entry["interval"], scale, digits) + mark
            versus = method["versus"].get(table.baseline, {}).get(metric)
            shown = NONE if value is None else f"{value:g}" + (f" ({theirs})" if theirs != metric else "")
            shown_gain = "" if gain is None else number(gain, 1, 4, signed=True).rstrip("0").rstrip(".")
            verdict = direction(gain, versus["difference_interval"] if versus else None)
            heading = metric_heading(results, metric)
            yield [label, heading, shown, shown_gain, ours, *_gain(results, metric, versus, mark), verdict], said


def _gain(results: Results, metric: str, versus: Versus | None, mark: str) -> list[str]:
    """Return a gain on the baseline and the winning rate against it."""
    if versus is None:
        return ["", ""]
    return [
        gain_text(results, metric, versus) + mark,
        with_interval(versus["winning_rate"], versus["interval"], 100, 0) + mark,
    ]


def _published(
    figures: published.Published, table: Table, backbone: str, job: Job, label: str, metric: str
) -> tuple[float | None, float | None, list[str]]:
    """Return a published figure, its gain on the baseline, and what is said against either."""
    place = published_place(job, backbone)
    point = point_of(job)
    found: dict[str, float] = {}
    said: list[str] = []
    for name in (label, table.baseline):
        called = table.published_as.get(f"{point}/{name}", table.published_as.get(name, name))
        rows = figures.select(**{**place, "method": _called(figures, called)})
        if len(rows) == 1:
            ((row, values),) = rows.items()
            if values[metric] is not None:
                found[name] = values[metric]  # type: ignore[assignment]
            said += [f"{' '.join(map(str, row))}, {metric}: {text}" for text in figures.slips_of(row, metric)]
    if label not in found:
        return _NOTHING
    gain = found[label] - found[table.baseline] if table.baseline in found and label != table.baseline else None
    return found[label], gain, said


def _called(figures: published.Published, label: str) -> str:
    """Return a label as in the published table; our keys write the dot in ``margin_0.01`` differently."""
    written = {str(row[-1]): str(row[-1]) for row in figures.figures}
    plain = {text.replace(".", "_"): text for text in written}
    return plain.get(label, label)


def direction(gain: float | None, interval: Sequence[float | None] | None) -> str:
    """Say whether our gain has the sign of the published one: yes or no where our interval excludes 0."""
    if gain is None or interval is None or None in interval:
        return ""
    if gain == 0:
        return "published: none"
    low, high = interval
    assert low is not None and high is not None
    if low <= 0 <= high:
        return "undecided"
    return "yes" if (low > 0) == (gain > 0) else "no"


def _cost(results: Results, label: str) -> list[str]:
    cost: Mapping[str, Any] = results["methods"][label].get("cost") or {}
    if not cost:
        return [NONE] * 3
    peak = cost["peak_bytes"]
    return [f"{cost['forwards']:.4g}", seconds_text(cost["seconds"]), NONE if peak is None else f"{peak / 1e6:.0f}"]
