"""Numbers along an axis: the course of a training, and scores against a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from npnet.drawing.figures import name_places, save, styled, to_png, without_frame
from npnet.drawing.palette import style_of


@dataclass(frozen=True)
class Curves:
    """One panel: ``lines`` are (epoch, value) by name; ``reference`` is a value to compare with, drawn across."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    reference: float | None = None


def plot_curves(panels: Sequence[Curves]) -> bytes:
    """Draw the panels beside each other over the epochs; a PNG file."""
    with styled(1, len(panels), (3.2 * len(panels), 2.7), dpi=120) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            for (name, points), marker in zip(panel.lines.items(), "os^D" * len(panel.lines), strict=False):
                axis.plot(*zip(*points, strict=True), marker=marker, markersize=3, label=name)
            if panel.reference is not None:
                axis.axhline(panel.reference, color="grey", linewidth=0.8)
            axis.set(xlabel="epoch")
            axis.set_title(panel.title, fontsize=9)
            axis.legend(fontsize=7)
            without_frame(axis)
        return to_png(figure)


@dataclass(frozen=True)
class Series:
    """One method: (number of the place, mean, low, high) for each place where it has a score."""

    label: str
    points: Sequence[tuple[int, float, float, float]]


@dataclass(frozen=True)
class SeriesPanel:
    """One metric: its title and the methods' scores."""

    title: str
    series: Sequence[Series]


def plot_series(
    path: Path, places: Sequence[str], caption: str, panels: Sequence[SeriesPanel], title: str | None
) -> None:
    """Draw each method's mean scores and confidence intervals over ``places``, a panel for each metric, into a file.

    Raises:
        OSError: the file cannot be written.
        ValueError: its name says no format that can be drawn.
    """
    with styled(1, len(panels), (4.4 * len(panels), 3.4), dpi=110) as (figure, axes):
        for axis, panel in zip(axes, panels, strict=True):
            for number, series in enumerate(panel.series):
                shift = 0.12 * (number - (len(panel.series) - 1) / 2)  # intervals beside each other, not on top
                middle = [mean for _, mean, _, _ in series.points]
                below = [abs(low - mean) for _, mean, low, _ in series.points]
                above = [abs(high - mean) for _, mean, _, high in series.points]
                x = [place + shift for place, *_ in series.points]
                axis.errorbar(
                    x, middle, yerr=[below, above], label=series.label, linewidth=1.2, capsize=3, **style_of(number)
                )
            axis.set_title(panel.title, loc="left", fontsize=10)
            name_places(axis.xaxis, places)
            axis.set_xlabel(caption)
            axis.grid(axis="y", linewidth=0.6, alpha=0.6)
            without_frame(axis)
        figure.suptitle(title or "", fontsize=9, weight="bold")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        save(figure, path)
