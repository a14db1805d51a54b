"""Histograms of the gains of a collection, with the kept pairs in colour."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npnet.drawing.figures import styled, to_png, without_frame
from npnet.drawing.palette import BLUE, LIGHT, TEXT

NUM_BINS = 50
TAIL = 0.5
"""Percent of the gains, on either side, that the outermost bars gather."""


@dataclass(frozen=True)
class Gains:
    """One metric: (golden - source, whether the pair was kept) for each pair, and the margin where there is one."""

    metric: str
    gains: Sequence[tuple[float, bool]]
    margin: float | None = None


def plot_histograms(panels: Sequence[Gains]) -> bytes:
    """Draw the histogram of golden - source for each metric that has gains; a PNG file, empty where none has."""
    columns = min(3, max(1, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    with styled(rows, columns, (max(6.4, 4.2 * columns), 3.4 * rows), dpi=120) as (figure, axes):
        for axis, panel in itertools.zip_longest(axes, panels):
            if panel is None:
                axis.set_visible(False)
                continue
            gains, kept = (np.array(values) for values in zip(*panel.gains, strict=True))
            bins = _bins(gains, panel.margin or 0.0)
            inside = gains.clip(bins[0], bins[-1])
            label = f"kept, {kept.sum():,} of {len(kept):,}"
            axis.hist([inside[kept], inside[~kept]], bins, stacked=True, color=[BLUE, LIGHT], label=[label, "rejected"])
            axis.axvline(0.0, color=TEXT, linewidth=0.9, linestyle=(0, (4, 3)))
            if panel.margin:
                axis.axvline(panel.margin, color=TEXT, linewidth=0.9, label=f"margin {panel.margin:g}")
            axis.set_title(f"{panel.metric}: mean gain {gains.mean():+.4g}", fontsize=10, loc="left")
            axis.set_xlabel("golden - source score", fontsize=9)
            axis.set_ylabel("pairs", fontsize=9)
            axis.tick_params(labelsize=8)
            axis.locator_params(axis="y", integer=True)
            without_frame(axis)
            axis.legend(frameon=False, fontsize=8)
        return to_png(figure)


def _bins(gains: np.ndarray, margin: float) -> list[float]:
    """Return the edges of the bars; one is at 0, so that a bar is of gains or of losses."""
    low = min(np.percentile(gains, TAIL, method="lower"), 0.0, margin)
    high = max(np.percentile(gains, 100 - TAIL, method="higher"), 0.0, margin)
    width = (high - low) / NUM_BINS or 1.0
    return (width * np.arange(np.floor(low / width), np.ceil(high / width) + 1.5)).tolist()
