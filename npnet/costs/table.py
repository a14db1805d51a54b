"""The table of which shipped backbone fits on which GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from npnet.backbones import Backbone
from npnet.costs.estimate import Run
from npnet.costs.gpus import GPU
from npnet.costs.runs import make_run, pair_forwards, sampling_forwards
from npnet.costs.wording import gibibytes, hours
from npnet.errors import FieldError
from npnet.metrics import Metric
from npnet.noise import Inversion


@dataclass(frozen=True)
class Jobs:
    """Collecting and evaluating with a backbone at its own settings; None where that cannot be, or was not counted.

    Attributes:
        name: of the YAML.
        pairs: collected by re-denoise sampling.
        pictures: of standard noise, scored.
        missing: parts that were never counted.
    """

    name: str
    pairs: Run | None
    pictures: Run | None
    missing: Sequence[str] = ()


def jobs(name: str, backbone: Backbone, metrics: Mapping[str, Metric]) -> Jobs:
    """Return the jobs of a backbone at its settings.

    Raises:
        FieldError: it does not have one of ``SETTINGS``.
    """
    settings = backbone.settings
    for key in SETTINGS:
        if key not in settings:
            raise FieldError(f"backbone.settings.{key}", None, "is needed to plan with this backbone")
    guidance = settings["guidance_scale"]
    steps, sizes = settings["num_inference_steps"], settings.get("batch_size", {})
    method = Inversion(
        guidance_scale=guidance,
        inversion_guidance_scale=settings["inversion_guidance_scale"],
        num_inference_steps=steps["collect"],
    )
    forwards = pair_forwards(backbone, method, steps["collect"], guidance) or 0
    pairs, missing = make_run(backbone, metrics, sizes.get("collect", 64), guidance, forwards, both=True)
    if not set(method.needs) <= backbone.capabilities:
        pairs = None
    evaluating = sampling_forwards(backbone, steps["evaluate"], guidance)
    pictures, _ = make_run(backbone, metrics, sizes.get("evaluate", 64), guidance, evaluating)
    return Jobs(name, pairs, pictures, missing)


SETTINGS = ("guidance_scale", "inversion_guidance_scale", "num_inference_steps")
"""What is read of ``Backbone.settings``."""
HEAD = ("backbone", "memory, GiB", "at least")


def rows(
    found: Sequence[Jobs], gpus: Sequence[GPU], num_pairs: int, num_pictures: int, workers: int = 1
) -> list[list[str]]:
    """Return the table's cells, its head first.

    A GPU's cell says how long ``num_pairs`` and ``num_pictures`` take ``workers`` that have such a GPU each;
    ``memory`` is what the batches of the YAML need, ``at least`` what a single pair or picture does.
    """
    table = [[*HEAD, *(f"{gpu.name}, {gpu.memory:g}" for gpu in gpus)]]
    for one in found:
        runs = [(one.pairs, num_pairs), (one.pictures, num_pictures)]
        as_set = " / ".join("-" if run is None else gibibytes(run.peak()).split()[0] for run, _ in runs)
        least = " / ".join("-" if run is None else gibibytes(run.peak(1, False)).split()[0] for run, _ in runs)
        cells = [" / ".join(_cell(run, gpu, number / workers) for run, number in runs) for gpu in gpus]
        table.append([one.name, as_set, least, *cells])
    return table


def plain(table: Sequence[Sequence[str]]) -> str:
    """Return a table as text in columns."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    head, *rest = table
    rule = ["---"] * len(head)
    named = [[f"`{line[0]}`", *line[1:]] for line in rest]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *named))


def _cell(run: Run | None, gpu: GPU, number: float) -> str:
    if run is None:
        return "-"
    return hours(run.seconds(gpu) * number) if run.fit(gpu) else "no"
