"""Quality, diversity and cost of a finished evaluation with several seeds for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from npnet.data.json_lines import read_json_lines
from npnet.data.prompts import Sample
from npnet.drawing import figures, sheets
from npnet.drawing.palette import style_of
from npnet.errors import UserError
from npnet.evaluation.cells import picture_path
from npnet.evaluation.contract import Results, read_results, samples_of
from npnet.metrics.diversity import by_prompt
from npnet.metrics.runtime.base import to_tensor
from npnet.pictures.opener import open_picture
from npnet.report import diversity, formats, markdown, wording

LOW_FREQUENCIES = "low-frequency share of the noise, %"


def read(folder: Path) -> Results:
    """Read ``results.json`` of an evaluation that measured diversity.

    Raises:
        UserError: the file does not exist, or diversity was not measured.
    """
    results = read_results(folder / "results.json")
    if not diversity.rows(results):
        raise UserError(f"{folder}: diversity was not measured: {', '.join(diversity.notes(results))}")
    return results


def to_markdown(results: Results, metrics: Sequence[str]) -> str:
    """Return ``heading`` and ``rows`` as a table."""
    return markdown.table(heading(results, metrics), rows(results, metrics)) + "\n"


def heading(results: Results, metrics: Sequence[str]) -> list[str]:
    """Return the heading of ``rows``."""
    heads = ["noise", "forwards"]
    for name in metrics:
        heads += [wording.metric_heading(results, name), f"{name}, gain"]
    for space, column in zip(results["diversity"]["spaces"], diversity.columns(results), strict=True):
        heads += [column, f"Vendi score ({space})"]
    return [*heads, LOW_FREQUENCIES]


def rows(results: Results, metrics: Sequence[str]) -> list[list[str]]:
    """Return a row for each method: cost, mean scores and gains, diversity in each space, and its noise."""
    spaces = list(results["diversity"]["spaces"])
    found = []
    for label, method in results["methods"].items():
        cost = method["cost"]
        backwards = f", {cost['backwards']:.0f} backwards" if cost["backwards"] else ""
        row = [wording.shown(results, label), f"{cost['forwards']:.0f}{backwards}"]
        gains = wording.comparison_rows(results, [(label, "standard")]) if "versus_standard" in method else []
        gained = dict(zip(results["metrics"], (gain.gain for gain in gains), strict=False))
        for name in metrics:
            row += [wording.score_text(results, label, name), gained.get(name, "")]
        for space, share in zip(spaces, diversity.cells(results, label), strict=True):
            row += [share, f"{method['diversity'][space]['vendi']['mean']:.2f}"]
        noise = method.get("noise")
        low = None if noise is None else noise["low_frequency_share"]["mean"]
        found.append([*row, formats.NONE if low is None else f"{100 * low:.1f}"])
    return found


def plot(results: Results, metric: str, space: str, path: Path) -> None:
    """Draw quality against the share of standard's diversity; a marker's size grows with the forwards."""
    scale, against = results["metrics"][metric]["display_scale"], results["diversity"]["against"]
    with figures.styled(1, 1, (9.6, 4.4), dpi=150) as (figure, [axis]):
        for number, (label, method) in enumerate(results["methods"].items()):
            entry, spread, forwards = method["metrics"][metric], method["diversity"][space], method["cost"]["forwards"]
            share, ends = spread["distance"]["share"], spread["distance"]["share_interval"]
            style = {**style_of(number), "markersize": 4 + forwards**0.5, "linestyle": "none", "alpha": 0.85}
            axis.errorbar(
                100 * share,
                scale * entry["mean"],
                xerr=figures.whiskers(share, ends, 100),
                yerr=figures.whiskers(entry["mean"], entry["interval"], scale),
                label=f"{wording.shown(results, label)} ({forwards:.0f} forwards)",
                elinewidth=1.0,
                **style,
            )
        axis.set_xlabel(f"diversity: distance in {space}, % of {against}'s")
        axis.set_ylabel(f"quality: {wording.metric_heading(results, metric)}")
        axis.grid(visible=True, linewidth=0.5, alpha=0.5)
        figures.without_frame(axis)
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figures.save(figure, path)


def contact_sheet(folder: Path, results: Results, num_prompts: int, metric: str, path: Path) -> None:
    """Draw all seeds of the first prompts, with one row for each method, to show diversity.

    Raises:
        UserError: a picture was not kept.
    """
    members = {wording.first_member(results, label): label for label in results["methods"]}
    found: dict[str, list[tuple[Sample, float]]] = {label: [] for label in members.values()}
    order: dict[str, int] = {}
    file = samples_of(folder, results)
    for _, line in read_json_lines(file, str(file)):
        member = line.get("network", line["method"])
        if member in members:
            sample = Sample(order.setdefault(line["prompt"], len(order)), line["prompt"], line["seed"])
            found[members[member]].append((sample, line["scores"][metric]))
    prompts = [sample.prompt for sample, _ in next(iter(found.values()))]
    places = [row for own in list(by_prompt(prompts).values())[:num_prompts] for row in own]
    pictures = {
        label: [_picture(picture_path(folder, member, found[label][row][0])) for row in places]
        for member, label in members.items()
    }
    verdicts = {
        label: ["right" if score == 1 else "wrong" for _, score in (own[row] for row in places)]
        for label, own in found.items()
    }
    sheets.draw_side_by_side(
        path,
        [prompts[row] for row in places],
        pictures,
        verdicts,
        f"the seeds of {num_prompts} prompts side by side; right or wrong by {metric}",
        cell=72,
    )


def _picture(path: Path) -> Tensor:
    if not path.is_file():
        raise UserError(f"{path}: was not kept; evaluate with keep_images=all")
    return to_tensor(open_picture(path, str(path)))
