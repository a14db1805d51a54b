"""The lines of a dry run about costs: FLOPs, memory, disk and hours, marked as estimates."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from npnet.costs.counts import Part
from npnet.costs.estimate import MARGIN, TEXT, Run, training_peak, training_seconds
from npnet.costs.gpus import GPU, chosen
from npnet.text import count, size_text

SMALLEST = 0.05
"""GiB below which a part is not named."""


def describe(run: Run, unit: str, number: int, gpu: GPU, workers: int = 1) -> list[str]:
    """Return the lines of a collection or evaluation.

    Args:
        run: what it computes.
        unit: what a sample is called: pair, picture.
        number: of samples, in all workers of this command.
        gpu: whose hours are asked for.
        workers: of this command, each with a GPU.

    Raises:
        FieldError: the GPU lacks a figure.
    """
    total = sum(run.flops.values())
    shares = ", ".join(f"{name} {100 * part / total:.3g} %" for name, part in run.flops.items() if part >= total / 1000)
    weights, held = run.weights, {name: size for name, size in run.held().items() if name != TEXT}
    lines = [
        row(f"a {unit}", f"{flops(total)}, {run.launches:,.0f} launches: {shares}"),
        row("memory", f"{gibibytes(run.peak())} for {count(run.batch_size, unit)} at once, with margin"),
        row("", f"weights {gibibytes(sum(weights.values()))}: {_sizes(weights)}"),
        row("", f"activations: {_sizes(held)}; {100 * (MARGIN - 1):.0f} % margin on these; 0.5 for CUDA"),
    ]
    if run.offloaded:
        lines.append(row("", "the text encoders are on the GPU only while they encode"))
    lines.append(row("in all", f"{flops(total * number)} for {count(number, unit)}{by(workers)}"))
    each = [(one, run.fit(one), run.seconds(one) * number / workers) for one in chosen(gpu)]
    return [*lines, *_hours(each)]


def describe_training(
    step: Part,
    batch_size: int,
    steps: int,
    gpu: GPU,
    devices: int = 1,
    precision: str = "32-true",
    span: str = "in all",
) -> list[str]:
    """Return the lines of a training.

    Args:
        step: counts of a sample's step.
        batch_size: samples of a step, of one process.
        steps: of the whole run.
        gpu: whose hours are asked for.
        devices: processes.
        precision: of the trainer.
        span: what so many steps are, in words.

    Raises:
        FieldError: the GPU lacks a figure.
    """
    half, of_step, peak = "16" in precision, step.total_flops * batch_size * devices, training_peak(step, batch_size)
    each, feeding = [], []
    for one in chosen(gpu):
        seconds = training_seconds(one, step, batch_size, half)
        each.append((one, "fits" if peak <= (one.memory or 0) * 2**30 else None, seconds * steps))
        feeding.append(f"{batch_size * devices / seconds:,.0f} on {one.name}")
    return [
        row("a step", f"{flops(of_step)}, {step.launches(batch_size):,} launches; {count(steps, 'step')} {span}"),
        row("memory", f"{gibibytes(peak)} in float32, with margin: weights, gradients, AdamW, activations"),
        row("pairs a second", f"that keep the GPU busy: {', '.join(feeding)}"),
        *_hours(each),
    ]


def describe_disk(num_bytes: float, folder: Path, whole: float | None = None) -> str:
    """Return the line of what is written, against what is free.

    Args:
        num_bytes: that this command writes.
        folder: where.
        whole: that all workers of a job array write; None where there is one.
    """
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free
    whole = max(num_bytes, whole or 0)
    enough = "" if whole <= free else "; THIS DOES NOT FIT"
    share = f" (all workers together: {size_text(whole)})" if whole > num_bytes else ""
    return row("disk", f"at most {size_text(num_bytes)}{share}, {size_text(free)} free{enough}")


def remarks(notes: Sequence[str], missing: Sequence[str]) -> list[str]:
    """Return the lines of what the figures leave out or suppose, and of parts without counts."""
    lines = [row("", note) for note in notes]
    if missing:
        lines.append(row("not counted", f"{', '.join(missing)}; npnet plan with the same keys counts it, and keeps it"))
    return lines


def row(name: str, text: str) -> str:
    """Return a line of a dry run."""
    return f"{name:<19}{text}"


def hours(seconds: float) -> str:
    """Return a time in a readable form."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 360_000 else f"{seconds / 3600:,.0f} h"


def flops(number: float) -> str:
    """Return FLOPs in a readable unit."""
    for unit in ("GFLOP", "TFLOP", "PFLOP"):
        number /= 1000 if unit != "GFLOP" else 1e9
        if number < 1000:
            return f"{number:.3g} {unit}"
    return f"{number / 1000:,.3g} EFLOP" if number < 1e6 else f"{number / 1000:,.0f} EFLOP"


def gibibytes(num_bytes: float) -> str:
    """Return bytes of memory."""
    return f"{num_bytes / 2**30:.1f} GiB"


def by(workers: int) -> str:
    """Return who shares the work; empty for one."""
    return "" if workers == 1 else f", by {workers} workers with a GPU each"


def _sizes(sizes: Mapping[str, float]) -> str:
    """Return the parts' bytes in GiB, small ones left out."""
    return (
        ", ".join(f"{name} {size / 2**30:.1f}" for name, size in sizes.items() if size >= SMALLEST * 2**30)
        or "all small"
    )


def _hours(each: Sequence[tuple[GPU, str | None, float]]) -> list[str]:
    share = f"{100 * each[0][0].share:.0f} %"
    lines = [
        row("estimate", f"at {share} of a GPU's peak (gpu.share; {_named(each)}), without reading and writing files:")
    ]
    for gpu, fit, seconds in each:
        found = f"{fit}: {hours(seconds)}" if fit else "does not fit"
        lines.append(row("", f"{gpu.name:<9}{gpu.memory:>6g} GiB  {found}"))
    return lines


def _named(each: Sequence[tuple[GPU, str | None, float]]) -> str:
    return "gpu=NAME for one" if len(each) > 1 else f"peak {each[0][0].tflops:g} TFLOP/s in half precision"
