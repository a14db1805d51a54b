"""Figures with the project's style, without pyplot's global state, saved as SVG or PNG.

Labels come from people and from files. Inside ``styled`` no text is read as mathematics, so ``$x$`` stays what it is,
and ``visible`` is laid over every text when the figure is written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from npnet.drawing.palette import BLUE, VERMILLION
from npnet.text import visible

INK, GRID = "#010203", "#040506"
"""Stand for the page's text colour and line colour, light or dark, which are put in at the end."""
PANELS_IN_A_ROW = 3
WIDTH = 9.4
"""Of a figure in a page in inches; the page scales it."""

PLAIN = {"text.parse_math": False, "text.usetex": False, "axes.unicode_minus": True}
IN_A_PAGE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), GRID),
}


@contextmanager
def styled(
    rows: int, columns: int, size: tuple[float, float], dpi: float = 100, style: Mapping[str, Any] | None = None
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make a figure with ``rows`` x ``columns`` panels; draw, and write it, inside the block.

    Args:
        rows: of panels.
        columns: of panels.
        size: width and height in inches.
        dpi: dots in an inch, of a PNG.
        style: matplotlib's settings, laid over ``PLAIN``.
    """
    settings: Any = {**(style or {}), **PLAIN}
    with mpl.rc_context(settings):
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, list(figure.subplots(rows, columns, squeeze=False).flat)


@contextmanager
def in_a_page(num_panels: int, height: float) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make a figure for a page with ``num_panels`` panels, ``PANELS_IN_A_ROW`` abreast, ``height`` inches each."""
    columns = min(num_panels, PANELS_IN_A_ROW)
    rows = -(-num_panels // columns)
    size = (WIDTH if columns > 1 else 0.62 * WIDTH, rows * height)
    with styled(rows, columns, size, style=IN_A_PAGE) as (figure, axes):
        for axis in axes[num_panels:]:
            axis.set_visible(False)
        yield figure, axes[:num_panels]


def to_svg(figure: Figure, description: str) -> str:
    """Return the figure as an inline ``<svg>``: no addresses, no fixed size, the page's colours and font."""
    buffer = io.StringIO()
    _make_visible(figure)
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<style type="text/css">.*?</style>', "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    colors = {INK: "currentColor", GRID: "var(--line)", BLUE: "var(--blue)", VERMILLION: "var(--red)"}
    for color, name in colors.items():
        text = text.replace(color, name)
    head, _, body = text.partition(">")
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    return head.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1) + ">" + body


def to_png(figure: Figure) -> bytes:
    """Return the figure as a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    _make_visible(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: Any) -> None:
    """Write the figure in the format that the name of ``path`` says.

    Raises:
        OSError: the file cannot be written.
        ValueError: no such format.
    """
    _make_visible(figure)
    figure.savefig(path)


def without_frame(axis: Axes) -> None:
    """Take away the lines above and on the right of a panel."""
    axis.spines[["top", "right"]].set_visible(False)


def name_places(axis: Axis, labels: Sequence[str]) -> None:
    """Put a label at each of the places 0, 1, 2, ... of an axis."""
    axis.set_ticks(range(len(labels)), [visible(label) for label in labels])


def whiskers(value: float, interval: Sequence[float | None], scale: float = 1.0) -> list[list[float]] | None:
    """Return how far an interval reaches below and above ``value``, for ``errorbar``; None where it is unknown."""
    low, high = interval
    if low is None or high is None:
        return None
    return [[max(scale * (value - low), 0.0)], [max(scale * (high - value), 0.0)]]


def _make_visible(figure: Figure) -> None:
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(visible(text.get_text(), keep="\n"))
