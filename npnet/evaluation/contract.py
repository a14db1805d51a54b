"""The schema of ``results.json``, a contract with other programs (``schema_version``); all its values are plain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from npnet.data.checksums import file_sha256
from npnet.errors import UserError
from npnet.evaluation.typed import fault_of
from npnet.untrusted import read_json
from npnet.work.request import digest

FINISHED = "evaluation.json"
"""Written last: the whole request that ``results.json`` and the report beside it are of."""
SAMPLES = "samples.jsonl"
CHECKSUM = "sha256"
"""Under this name ``results.json`` carries the digest of its other values; that of earlier versions does not."""


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
    """The comparison of a method with another one, on one metric."""

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
    """The cost of one picture."""

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


class Average(TypedDict):
    """A mean over prompts."""

    mean: float
    interval: list[float]
    count: int
    missing: int


class Spread(Average):
    """A measure of diversity, one value for each prompt; shares and tests compare it with the method in ``Diversity``.

    ``share`` is the ratio of the means over the ``shared_prompts`` that have a value with both methods.
    """

    difference: float
    difference_interval: list[float]
    share: float
    share_interval: list[float]
    shared_prompts: int


class DiversityEntry(TypedDict):
    """The diversity of the pictures of one prompt, in one space."""

    distance: Spread
    vendi: Spread


class SpaceFacts(TypedDict):
    """Facts about a space; ``kernel_width`` is that of the Vendi score, None where it uses cosines."""

    unit: str
    kernel_width: float | None
    random_weights: bool


class Diversity(TypedDict):
    """The basis of the diversity figures; ``absent`` says why there are none.

    ``against`` is the method with which the others are compared. ``num_pictures`` are the smallest and largest number
    of pictures of a prompt, among the ``num_prompts`` with several pictures.
    """

    spaces: dict[str, SpaceFacts]
    against: str
    num_pictures: list[int]
    num_prompts: int
    absent: str | None


class MethodResults(TypedDict):
    """The results of one method."""

    metrics: dict[str, Entry]
    versus: dict[str, dict[str, Versus]]
    versus_standard: NotRequired[dict[str, Versus]]
    cost: NotRequired[CostEntry]
    null_control: NotRequired[bool]
    trace: NotRequired[TraceEntry]
    diversity: NotRequired[dict[str, DiversityEntry]]
    noise: NotRequired[dict[str, Average]]
    members: NotRequired[dict[str, MethodResults]]


class ScorerFacts(TypedDict):
    """Facts about what scored."""

    display_scale: float
    random_weights: bool
    notes: list[str]


class MetricFacts(ScorerFacts):
    """Facts about a metric; ``zero_or_one``: all its scores are right (1) or wrong (0)."""

    zero_or_one: bool


class CommonResults(TypedDict):
    """The keys that every ``results.json`` has."""

    schema_version: int
    num_pairs: int
    num_prompts: int
    smoke: bool
    methods: dict[str, MethodResults]
    settings: dict[str, Any]
    versions: dict[str, str]
    notes: list[str]


class Results(CommonResults):
    """The whole file of a comparison."""

    metrics: dict[str, MetricFacts]
    diversity: NotRequired[Diversity]
    device: list[str]
    samples_sha256: NotRequired[str]


class ImageResults(CommonResults):
    """The whole file of pictures from elsewhere: one method, compared with none."""

    metrics: dict[str, ScorerFacts]


def read_results(path: Path) -> Results:
    """Return the content of a ``results.json``.

    Raises:
        UserError: it cannot be read, was changed, or has another schema; names the key.
    """
    found = read_json(path)
    stated = found.pop(CHECKSUM, None) if isinstance(found, dict) else None
    if stated is not None and stated != digest(found):
        raise UserError(f"{path}: was changed after it was written (its checksum differs)")
    if not isinstance(found, dict) or "settings" not in found or "methods" not in found:
        raise UserError(f"{path}: does not hold results of evaluate.py that compare noise methods")
    fault = fault_of(Results, found)
    metrics = found["metrics"] if fault is None else {}
    for label, method in found["methods"].items() if fault is None else ():
        versus = [*method["versus"].values(), *([method["versus_standard"]] if "versus_standard" in method else [])]
        if any(table.keys() != metrics.keys() for table in (method["metrics"], *versus)):
            fault = f"methods.{label}: has different metrics than the rest of the file"
        if "diversity" in method and method["diversity"].keys() != found.get("diversity", {}).get("spaces", {}).keys():
            fault = f"methods.{label}.diversity: has different spaces than the rest of the file"
        if not method["versus"].keys() <= found["methods"].keys():
            fault = f"methods.{label}.versus: names a method that does not exist"
    if fault is not None:
        raise UserError(f"{path}: does not hold results of evaluate.py: {fault}")
    return cast(Results, found)


def samples_of(folder: Path, results: Results) -> Path:
    """Return ``samples.jsonl`` of an evaluation, as it was written with its ``results.json``.

    Raises:
        UserError: its checksum is another one.
    """
    file = folder / SAMPLES
    found = file_sha256(file) if file.is_file() else ""
    if results.get("samples_sha256", found) != found:
        raise UserError(f"{file}: was changed, or is not of the results.json beside it (its checksum differs)")
    return file
