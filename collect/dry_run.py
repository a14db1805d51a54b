"""The dry run of a collection, from the descriptions of its parts."""

from __future__ import annotations

import math

from collect.plan import USED, CollectionPlan
from collect.settings import CollectSettings
from npnet.costs import wording
from npnet.costs.runs import make_run, notes, pair_forwards, picture_bytes, sampling_forwards
from npnet.text import size_text

TAR_BLOCK = 512


def dry_run_text(plan: CollectionPlan) -> str:
    """Say what would be done, from the built parts alone; nothing is loaded."""
    settings, num_prompts = plan.settings, len(plan.prompts)
    forwards = forwards_per_pair(settings)
    pair_bytes = bytes_per_pair(settings)
    size = f"{size_text(pair_bytes)} for each kept pair, at most {size_text(pair_bytes * plan.num_samples)}"
    pictures = 2 * picture_bytes(settings.backbone) if settings.keep_images else 0
    kept = pair_bytes + pictures
    size += f" (and about {size_text(pictures)} of pictures each)" if settings.keep_images else ""
    selected_by = ", ".join(settings.rule.selected_by(list(settings.metric)))
    searching = f" (searches with {', '.join(settings.method.scorers)})" if settings.method.scorers else ""
    lines = [
        f"backbone           {settings.backbone.name}, {settings.num_inference_steps} steps, guidance_scale "
        f"{settings.guidance_scale:g}",
        f"prompts            {num_prompts}, first: {plan.prompts.prompts[0]!r}",
        *(f"                   {count} {name}" for name, count in plan.prompt_counts.items() if name != USED and count),
        f"seeds              {plan.num_samples // num_prompts} for each prompt, {settings.seeds}",
        f"pairs to try       {plan.num_samples} in {plan.num_chunks} chunks of {settings.chunk_size}",
        f"golden candidates  noise={settings.label}{searching}, selected by {selected_by}",
        f"forwards per pair  {'depends on the data' if forwards is None else forwards}",
        f"bytes              {size}",
        f"written to         {settings.output_dir}",
        *settings.backbone.device_note(),
        wording.describe_disk(kept * plan.num_ours, settings.output_dir, kept * plan.num_samples),
        *costs(settings, forwards, plan.num_ours),
    ]
    return "\n".join(lines)


def costs(settings: CollectSettings, forwards: int | None, number: int) -> list[str]:
    """Return the lines of FLOPs, memory and hours.

    Args:
        settings: the command's keys.
        forwards: of a pair; None where they depend on the data.
        number: of pairs that this command tries.
    """
    backbone, guidance = settings.backbone, settings.guidance_scale
    if forwards is None:
        forwards = 2 * sampling_forwards(backbone, settings.num_inference_steps, guidance)
    size = max(1, min(settings.batch_size, settings.chunk_size, number))
    workers = max(1, min(settings.workers, -(-number // settings.chunk_size)))
    run, missing = make_run(backbone, settings.metric, size, guidance, forwards, both=True)
    lines = [] if run is None else wording.describe(run, "pair", number, settings.gpu, workers)
    return lines + wording.remarks(notes(backbone, settings.noise, settings.metric), missing)


def forwards_per_pair(settings: CollectSettings) -> int | None:
    """Return the documented denoiser forwards of one pair; None where they depend on the data."""
    return pair_forwards(settings.backbone, settings.method, settings.num_inference_steps, settings.guidance_scale)


def bytes_per_pair(settings: CollectSettings) -> int:
    """Return the size of a pair in a shard, pictures left out."""
    shape, dims = settings.backbone.latent_shape(), settings.backbone.embed_dims()
    members = [2 * 2 * math.prod(shape) + 200, 300]
    if settings.keep_embeds:
        members.append(2 * (dims["prompt_embed_dim"] * dims["prompt_length"] + dims["pooled_embed_dim"]) + 200)
    return sum(TAR_BLOCK + -(-size // TAR_BLOCK) * TAR_BLOCK for size in members)
