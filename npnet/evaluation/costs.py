"""The lines of a dry run of an evaluation about disk, FLOPs, memory and hours."""

from __future__ import annotations

from npnet.costs import wording
from npnet.costs.runs import make_run, notes, picture_bytes, sampling_forwards
from npnet.evaluation.plan import EvaluationPlan


def describe(plan: EvaluationPlan) -> str:
    """Return the lines for the whole evaluation, even where some of it is computed already.

    Raises:
        FieldError: a figure of the GPU is missing.
    """
    settings, backbone, guidance = plan.settings, plan.settings.backbone, plan.settings.guidance_scale
    share, methods, pairs = settings.crew().share, settings.noise, settings.seeds.number(plan.prompts)
    ours = share.number(pairs, settings.chunk_size)
    sampling = sampling_forwards(backbone, settings.num_inference_steps, guidance)
    forwards = [plan.forwards(method) for method in methods.values()]
    mean = sum(sampling if found is None else found for found in forwards) / len(forwards)
    size = max(1, min(settings.batch_size, settings.chunk_size, ours))
    run, missing = make_run(backbone, settings.metric, size, guidance, mean)
    kept = min(settings.num_kept(pairs), ours) * len(methods) * picture_bytes(backbone)
    lines = [wording.describe_disk(kept, settings.output_dir)]
    if run is not None:
        workers = max(1, min(settings.workers, -(-ours // settings.chunk_size)))
        lines += wording.describe(run, "picture", ours * len(methods), settings.gpu, workers)
    return "\n".join(lines + wording.remarks(notes(backbone, methods, settings.metric), missing))
