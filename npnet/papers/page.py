"""A table's page: what the paper prints beside what was found here, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from npnet.description import imported
from npnet.evaluation.contract import MethodResults, Results, read_results
from npnet.papers import published
from npnet.papers.asked import Asked
from npnet.papers.jobs import Job, point_of, published_place
from npnet.papers.setting import Setting
from npnet.papers.table import Table
from npnet.report import diversity
from npnet.report.markdown import table as markdown_table
from npnet.report.wording import DAGGER, MARKED, NONE, banner
from npnet.text import markdown as escaped

HEADING = ["prompts", "method", "metric", "published", "published gain", "ours", "our gain", "same direction?"]
_NOTHING: tuple[str, float | None, list[str]] = (NONE, None, [])
COSTS = ["prompts", "method", "forwards a picture", "seconds a picture", "peak memory, MB"]


def page(table: Table, where: str, jobs: Sequence[Job], asked: Asked) -> str:
    """Return the page of a table on a setting, as Markdown.

    Args:
        table: what varies.
        where: name of the setting on which it was made.
        jobs: what it was made by; what is not finished is not on the page.
        asked: what else was said.

    Raises:
        UserError: results that are there cannot be read.
    """
    setting = asked.setting(where)
    parts = [f"## {table.title}", f"On {setting.title}."]
    if table.shows == "evaluations":
        parts[-1:] = _scores(table, where, setting, [job for job in jobs if job.command == "evaluate"])
    else:
        parts += imported(f"npnet.papers.readings:{table.shows}")(table, where, setting, jobs, asked)
    return "\n\n".join(parts) + "\n"


def _scores(table: Table, where: str, setting: Setting, jobs: Sequence[Job]) -> list[str]:
    """Return the parts of a page of evaluations."""
    done = [(job, read_results(job.output_dir / "results.json")) for job in jobs if job.is_done]
    parts = [f"On {setting.title}. {_extent(jobs, done)}"]
    backbone = table.published_backbone(where, setting)
    reads = table.reads_on.get(where, setting.reads)
    rows: list[list[str]] = []
    costs: list[list[str]] = []
    slips: dict[str, None] = {}
    for job, results in done:
        for row, said in _rows(table, setting, backbone, reads, job, results):
            rows.append(row)
            slips |= dict.fromkeys(said)
    smoke = {text for _, results in done if (text := banner(results))}
    parts += [escaped(text) for text in sorted(smoke)]
    spread = diversity.common_columns([results for _, results in done])
    for (job, results), label in [(found, label) for found in done for label in found[1]["methods"]]:
        own = diversity.cells_under(spread, results, label)
        costs.append([_where(setting, job), label, *_cost(results["methods"][label]), *own])
    parts += [markdown_table(HEADING, rows), markdown_table([*COSTS, *spread], costs)]
    parts += ["\n".join(f"- Of the published figures: {escaped(text)}" for text in slips)] if slips else []
    if any(DAGGER in cell for row in rows for cell in row):
        parts.append(escaped(MARKED))
    if any(ours != theirs for ours, theirs in reads.items()):
        pairs = ", ".join(f"{ours} beside {theirs}" for ours, theirs in reads.items())
        parts.append(escaped(f"Other metrics than the paper's ({pairs}): only directions compare."))
    return parts


def _extent(jobs: Sequence[Job], done: Sequence[tuple[Job, Results]]) -> str:
    pairs = sorted({results["num_pairs"] for _, results in done})
    counted = " to ".join(str(count) for count in dict.fromkeys((*pairs[:1], *pairs[-1:]))) or "0"
    said = f"{counted} pairs in each evaluation, [95 % interval over prompts]."
    return said if len(done) == len(jobs) else f"{said} {len(done)} of {len(jobs)} evaluations are finished."


def _rows(
    table: Table, setting: Setting, backbone: str, reads: Mapping[str, str], job: Job, results: Results
) -> Iterator[tuple[list[str], list[str]]]:
    figures = published.table(table.published) if table.published else None
    where = _where(setting, job)
    for label, method in results["methods"].items():
        for metric, entry in method["metrics"].items():
            theirs = reads.get(metric, metric)
            value, gain, said = _NOTHING
            if figures is not None and theirs in figures.metrics:
                value, gain, said = _published(figures, table, backbone, job, label, theirs)
            scale, mark = entry["display_scale"], f" {DAGGER}" if entry["optimised"] else ""
            ours = f"{_number(entry['mean'], scale)} {_interval(entry['interval'], scale)}{mark}"
            versus = method["versus"].get(table.baseline, {}).get(metric)
            difference = ""
            if versus is not None:
                found = _number(versus["mean_difference"], scale, "+")
                difference = f"{found} {_interval(versus['difference_interval'], scale, '+')}{mark}"
            shown = "" if gain is None else f"{gain:+.4g}"
            verdict = direction(gain, versus["difference_interval"] if versus else None)
            yield [where, label, metric, value, shown, ours, difference, verdict], said


def _published(
    figures: published.Published, table: Table, backbone: str, job: Job, label: str, metric: str
) -> tuple[str, float | None, list[str]]:
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
    return f"{found[label]:g}", gain, said


def _called(figures: published.Published, label: str) -> str:
    """Return a label as the published table writes it: a dot in ``margin_0.01`` is none in a key of ours."""
    written = {str(row[-1]): str(row[-1]) for row in figures.figures}
    plain = {text.replace(".", "_"): text for text in written}
    return plain.get(label, label)


def direction(gain: float | None, interval: Sequence[float] | None) -> str:
    """Say whether ours goes the way of a published gain: yes or no where our interval leaves out 0."""
    if gain is None or interval is None or None in interval:
        return ""
    if gain == 0:
        return "published: none"
    if interval[0] <= 0 <= interval[1]:
        return "undecided"
    return "yes" if (interval[0] > 0) == (gain > 0) else "no"


def _where(setting: Setting, job: Job) -> str:
    """Return the prompts by the name they have on this setting, and what is swept."""
    prompts = setting.prompts.get(str(job.place.get("prompts")))
    named = "" if prompts is None else job.place["prompts"] if prompts.use == "file" else prompts.use
    return f"{named} {point_of(job)}".strip()


def _cost(method: MethodResults) -> list[str]:
    cost: Mapping[str, Any] = method.get("cost") or {}
    if not cost:
        return [NONE] * 3
    peak = cost["peak_bytes"]
    return [f"{cost['forwards']:g}", f"{cost['seconds']:.3g}", NONE if peak is None else f"{peak / 1e6:.0f}"]


def _number(value: float | None, scale: float, sign: str = "") -> str:
    return NONE if value is None else format(scale * value, f"{sign}.2f")


def _interval(interval: Sequence[float | None], scale: float, sign: str = "") -> str:
    return "[" + ", ".join(_number(value, scale, sign) for value in interval) + "]"
