"""The shape of ``results.json``, which other programs read; its keys are a contract (``schema_version``).

Every value is plain: texts, numbers, lists and dictionaries. ``results`` makes it, the report reads it.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class Entry(TypedDict):
    """A method's scores on one metric."""

    mean: float
    interval: list[float]
    count: int
    missing: int
    display_scale: float
    optimised: bool


class Preference(TypedDict):
    """The mean probability that a method is preferred, where papers print that."""

    mean: float
    interval: list[float]


class Versus(TypedDict):
    """A method against another one, on one metric."""

    count: int
    num_prompts: int
    missing: int
    wins: float
    losses: float
    winning_rate: float
    ties: float
    interval: list[float]
    mean_difference: float
    difference_interval: list[float]
    p_value: float
    sign_test_p_value: float
    optimised: bool
    verdict: str
    preference: NotRequired[Preference]


class CostEntry(TypedDict):
    """What one picture cost."""

    forwards: float
    backwards: float
    scorer_calls: float
    seconds: float
    peak_bytes: int | None
    count: int


class TracePointEntry(TypedDict):
    """The mean best score of a search after so many forwards."""

    forwards: float
    mean: float
    interval: list[float]
    count: int


class TraceEntry(TypedDict):
    """A search's score against its cost; ``metric`` is None where it adds up several."""

    metric: str | None
    points: list[TracePointEntry]


class MethodResults(TypedDict):
    """What is said of one method."""

    metrics: dict[str, Entry]
    versus: dict[str, dict[str, Versus]]
    versus_standard: NotRequired[dict[str, Versus]]
    cost: NotRequired[CostEntry]
    null_control: NotRequired[bool]
    trace: NotRequired[TraceEntry]
    members: NotRequired[dict[str, MethodResults]]


class MetricFacts(TypedDict):
    """What a reader should know of a metric; ``zero_or_one``: it only ever said right (1) or wrong (0)."""

    display_scale: float
    zero_or_one: bool
    random_weights: bool
    notes: list[str]


class Results(TypedDict):
    """The whole file."""

    schema_version: int
    num_pairs: int
    num_prompts: int
    smoke: bool
    methods: dict[str, MethodResults]
    metrics: dict[str, MetricFacts]
    settings: dict[str, Any]
    device: list[str]
    versions: dict[str, str]
    notes: list[str]
