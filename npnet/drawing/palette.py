"""The colours and marks of every figure, which can be told apart in every form of colour blindness."""

from __future__ import annotations

from typing import Any

BLUE, VERMILLION, GREY = "#0072b2", "#d55e00", "#7f7f7f"
PALETTE = (
    BLUE,
    "#e69f00",
    "#009e73",
    VERMILLION,
    "#cc79a7",
    "#56b4e9",
    "#8c6d31",
    GREY,
    "#999933",
    "#44aa99",
    "#aa4499",
)
"""Okabe and Ito's colours and three of Tol's; each line has its own marker besides."""
MARKERS = "osD^vPX*<>hpd"
TEXT, QUIET, LIGHT = "#1a1a1a", "#666666", "#bdbdbd"
"""Of letters, of less important letters, and of bars that stand back."""


def style_of(number: int) -> dict[str, Any]:
    """Return colour and marker of the line or point with this number, from 0."""
    return {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}
