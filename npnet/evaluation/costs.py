"""The lines of a dry run of an evaluation about disk, FLOPs, memory and hours."""

from __future__ import annotations

from collections.abc import Mapping

from npnet.costs import wording
from npnet.costs.runs import make_run, notes, picture_bytes, sampling_forwards
from npnet.evaluation.plan import EvaluationPlan


def describe(plan: EvaluationPlan, to_draw: Mapping[str, int] | None = None) -> str:
    """Return the lines for what is still to be computed.

    Args:
        plan: the evaluation.
        to_draw: label -> number of pictures that are still made; None where nothing is there.

    Raises:
        FieldError: a figure of the GPU is missing.
    """
    settings, backbone, guidance = plan.settings, plan.settings.backbone, plan.settings.guidance_scale
    share, methods, pairs = settings.crew().share, settings.noise, settings.seeds.number(plan.prompts)
    ours = share.number(pairs, settings.chunk_size)
    sampling = sampling_forwards(backbone, settings.num_inference_steps, guidance)
    numbers = dict.fromkeys(methods, pairs) if to_draw is None else to_draw
    forwards = {label: sampling if (n := plan.forwards(method)) is None else n for label, method in methods.items()}
    drawn = sum(numbers.values())
    mean = sum(forwards[label] * number for label, number in numbers.items()) / max(1, drawn)
    size = max(1, min(settings.batch_size, settings.chunk_size, ours))
    run, missing = make_run(backbone, settings.metric, size, guidance, mean)
    kept = min(settings.num_kept(pairs), ours) * len(methods) * picture_bytes(backbone)
    lines = [wording.describe_disk(kept, settings.output_dir)]
    if run is not None and drawn:
        workers = max(1, min(settings.workers, -(-ours // settings.chunk_size)))
        lines += wording.describe(run, "picture", -(-drawn * ours // pairs), settings.gpu, workers)
    return "\n".join(lines + wording.remarks(notes(backbone, methods, settings.metric), missing))
