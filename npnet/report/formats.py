"""How numbers are written, the same on the terminal, in the report and on the pages of the papers."""

from __future__ import annotations

from collections.abc import Sequence

NONE = "\N{EN DASH}"
"""Stands for a number that does not exist."""
MINUS = "\N{MINUS SIGN}"


def with_interval(
    value: float | None, interval: Sequence[float | None], scale: float, decimals: int, signed: bool = False
) -> str:
    """Write ``value [low, high]``, each times ``scale``."""
    ends = ", ".join(number(end, scale, decimals, signed) for end in interval)
    return f"{number(value, scale, decimals, signed)} [{ends}]"


def number(value: float | None, scale: float = 1.0, decimals: int = 2, signed: bool = False) -> str:
    """Write one number; with ``signed`` also the plus."""
    if value is None:
        return NONE
    text = f"{value * scale:{'+' if signed else ''}.{decimals}f}"
    if not float(text):
        return text.lstrip("+-")
    return text.replace("-", MINUS)


def p_text(p_value: float | None) -> str:
    """Write a p-value with two digits, none below what 10,000 resamples can tell."""
    if p_value is None:
        return NONE
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}" if p_value < 0.1 else f"{p_value:.2f}"


def seconds_text(seconds: float) -> str:
    """Write seconds a picture, as milliseconds where that reads better."""
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
