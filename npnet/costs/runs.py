"""What a command computes: which parts it runs, how often, and on how many rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from npnet.backbones import Backbone
from npnet.backbones.traits import num_branches
from npnet.costs.counts import Counts, find
from npnet.costs.estimate import Run
from npnet.metrics import Metric
from npnet.noise import NoiseMethod

KEPT_BYTES = 0.3
"""Of a WebP, for each pixel."""
GRADIENTS = ("cross_attention_maps", "differentiable_decode")
"""A method that needs one of these follows gradients, whose memory is not counted."""


def sampling_forwards(backbone: Backbone, steps: int, guidance_scale: float) -> int:
    """Return the denoiser forwards that sampling a picture takes."""
    return num_branches(backbone, guidance_scale) * steps


def picture_bytes(backbone: Backbone) -> float:
    """Return what a kept picture takes on disk, roughly."""
    return KEPT_BYTES * (getattr(backbone, "height", 0) or 0) * (getattr(backbone, "width", 0) or 0)


def pair_forwards(backbone: Backbone, method: NoiseMethod, steps: int, guidance_scale: float) -> int | None:
    """Return the denoiser forwards of a pair: both sides, the method, less what they share.

    None where the method's number depends on the data.
    """
    of_method = method.forwards(backbone)
    if of_method is None:
        return None
    shared = num_branches(backbone, guidance_scale) if method.shares_first_evaluation(steps) else 0
    return of_method + 2 * sampling_forwards(backbone, steps, guidance_scale) - shared


def make_run(
    backbone: Backbone,
    metrics: Mapping[str, Metric],
    batch_size: int,
    guidance_scale: float,
    forwards: float,
    both: bool = False,
) -> tuple[Run | None, list[str]]:
    """Return what a command computes on a backbone, and which of its parts were never counted.

    Args:
        backbone: the model.
        metrics: label -> metric.
        batch_size: samples at once.
        guidance_scale: of the sampling.
        forwards: of the denoiser for each sample.
        both: a sample is a pair, and both its sides are denoised.

    Returns:
        The run, None without counts of the backbone; metrics without counts are left out.
    """
    counted = find("backbone", backbone)
    scorers = {label: find("metric", metric) for label, metric in metrics.items()}
    missing = [] if counted else [f"backbone {backbone.name}"]
    missing += [f"metric {label}" for label, found in scorers.items() if found is None]
    if counted is None:
        return None, missing
    sides = 2 if both else 1
    run = Run(
        denoiser=counted.parts["denoiser"],
        decoder=counted.parts["decoder"],
        text=counted.parts["text_encoders"],
        scorers={label: found.parts["scorer"] for label, found in scorers.items() if found},
        batch_size=batch_size,
        rows=sides * num_branches(backbone, guidance_scale),
        pictures=sides,
        forwards=forwards,
        prompts=getattr(backbone, "text_encoder_batch_size", 32),
        offloaded=getattr(backbone, "offload_text_encoders", False),
    )
    return run, missing


def taken_for(group: str, described: Any, label: str) -> str | None:
    """Say which published model's sizes stand for one whose weights lie elsewhere; None where none do."""
    found: Counts | None = find(group, described)  # type: ignore[arg-type]
    return f"{label} is assumed to be as large as {found.name}" if found and not found.exact else None


def notes(backbone: Backbone, methods: Mapping[str, NoiseMethod], metrics: Mapping[str, Metric]) -> list[str]:
    """Return the assumptions of the figures and what they leave out, one line each."""
    told = [taken_for("backbone", backbone, "backbone")]
    told += [taken_for("metric", metric, f"metric.{label}") for label, metric in metrics.items()]
    unknown = [label for label, method in methods.items() if method.forwards(backbone) is None]
    if unknown:
        told.append(f"what {', '.join(unknown)} evaluates depends on the data, so it is left out")
    searching = [label for label, method in methods.items() if method.scorers]
    if searching:
        told.append(f"pictures that {', '.join(searching)} scores on its way are left out")
    graph = [label for label, m in methods.items() if m.needs_gradients or any(need in GRADIENTS for need in m.needs)]
    if graph:
        told.append(f"gradients that {', '.join(graph)} follows are left out, memory too")
    return [line for line in told if line]
