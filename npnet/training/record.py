"""The schema of ``training.json``: what a network was trained on, how, and how well."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

Measure = Literal["mse", "relative_mse", "direction_share"]
"""See ``accuracy.summarise``."""


class Figure(TypedDict):
    """A value with its 95 % interval over prompts, None where a single pair says nothing about spread."""

    value: float | None
    interval: list[float] | None


class Figures(TypedDict):
    """A network's errors on ``count`` pairs."""

    count: int
    num_prompts: int
    mse: Figure
    relative_mse: Figure
    direction_share: Figure


class Change(TypedDict):
    """The paired difference of the squared error, after less before; ``pairs_improved`` is a share."""

    mse: Figure
    p_value: float
    pairs_improved: float


class HeldOut(TypedDict, total=False):
    """The errors on the validation pairs; ``before`` and ``change`` where training began with another network."""

    before: Figures
    after: Figures
    change: Change


class Training(TypedDict):
    """The whole file; it counts ``pairs``, or ``noises`` where there are none."""

    selected_by: list[str]
    trained_for: NotRequired[dict[str, Any]]
    pairs: NotRequired[int]
    validation_pairs: NotRequired[int]
    noises: NotRequired[int]
    validation_noises: NotRequired[int]
    epochs: int
    steps: int
    last_epoch_metrics: dict[str, float]
    start: str
    held_out: HeldOut
    settings: dict[str, Any]
