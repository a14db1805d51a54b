"""Quality, diversity and cost of a finished evaluation with several seeds for each prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
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


def plot(panels: Mapping[str, Results], metric: str, space: str, path: Path) -> None:
    """Draw quality against the share of standard's diversity; a marker's size grows with the forwards.

    Args:
        panels: title -> results of one comparison; a method has the same marker in all of them.
        metric: the quality.
        space: where the distance of pictures is measured.
        path: of the PNG.
    """
    forwards = {
        label: f"{label} ({method['cost']['forwards']:.0f})"
        for results in panels.values()
        for label, method in results["methods"].items()
    }
    styles = {label: style_of(number) for number, label in enumerate(forwards)}
    with figures.styled(1, len(panels), (3.6 + 4.2 * len(panels), 4.4), dpi=150) as (figure, axes):
        drawn: dict[str, Any] = {}
        for axis, (title, results) in zip(axes, panels.items(), strict=True):
            drawn = {**_points(axis, results, metric, space, styles), **drawn}
            axis.set_title(title)
            axis.set_xlabel(f"diversity: distance in {space},\n% of {results['diversity']['against']}'s")
            axis.set_ylabel(f"quality: {wording.metric_heading(results, metric)}")
            axis.grid(visible=True, linewidth=0.5, alpha=0.5)
            figures.without_frame(axis)
        figure.legend(
            [drawn[label] for label in forwards],
            list(forwards.values()),
            title="method (denoiser forwards)",
            fontsize=8,
            title_fontsize=8,
            loc="outside right center",
            frameon=False,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        figures.save(figure, path)


def _points(
    axis: Axes, results: Results, metric: str, space: str, styles: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Draw every method with its intervals; returns what the legend shows of each."""
    scale, drawn = results["metrics"][metric]["display_scale"], {}
    for label, method in results["methods"].items():
        entry, spread = method["metrics"][metric], method["diversity"][space]["distance"]
        size = 4 + method["cost"]["forwards"] ** 0.5
        drawn[label] = axis.errorbar(
            100 * spread["share"],
            scale * entry["mean"],
            xerr=figures.whiskers(spread["share"], spread["share_interval"], 100),
            yerr=figures.whiskers(entry["mean"], entry["interval"], scale),
            elinewidth=1.0,
            **{**styles[label], "markersize": size, "linestyle": "none", "alpha": 0.85},
        )
    return drawn


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
