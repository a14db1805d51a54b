"""What would be collected, said from the parts' descriptions alone."""

from __future__ import annotations

import math

from collect.candidates import CandidateMaker
from collect.collection import check
from collect.plan import USED, CollectionPlan
from collect.status import size_text

TAR_BLOCK = 512


def dry_run_text(plan: CollectionPlan) -> str:
    """Say what would be done, from the built parts alone; nothing is loaded."""
    maker = check(plan)
    settings, num_prompts = plan.settings, len(plan.prompts)
    forwards = forwards_per_pair(maker)
    pair_bytes = bytes_per_pair(maker, settings.keep_embeds)
    size = f"{size_text(pair_bytes)} for each kept pair, at most {size_text(pair_bytes * plan.num_samples)}"
    size += " (and the pictures)" if settings.keep_images else ""
    selected_by = ", ".join(settings.rule.selected_by(list(settings.metric)))
    searching = f" (searches with {', '.join(maker.method.scorers)})" if maker.method.scorers else ""
    lines = [
        f"backbone           {maker.backbone.name}, {maker.num_inference_steps} steps, guidance_scale "
        f"{maker.guidance_scale:g}",
        f"prompts            {num_prompts}, first: {plan.prompts.prompts[0]!r}",
        *(f"                   {count} {name}" for name, count in plan.prompt_counts.items() if name != USED and count),
        f"seeds              {plan.num_samples // num_prompts} for each prompt, {settings.seeds}",
        f"pairs to try       {plan.num_samples} in {plan.num_chunks} chunks of {settings.chunk_size}",
        f"golden candidates  noise={maker.label}{searching}, selected by {selected_by}",
        f"forwards per pair  {'depends on the data' if forwards is None else forwards}",
        f"bytes              {size}",
        f"written to         {settings.output_dir}",
    ]
    return "\n".join(lines)


def forwards_per_pair(maker: CandidateMaker) -> int | None:
    """Return the documented denoiser forwards of one pair: both sides, the method, less what they share."""
    of_method = maker.method.forwards(maker.backbone)
    if of_method is None:
        return None
    branches = 1 if maker.guidance_scale == 1 or "unconditional_branch" not in maker.backbone.capabilities else 2
    shared = branches if maker.method.shares_first_evaluation(maker.num_inference_steps) else 0
    return of_method + 2 * branches * maker.num_inference_steps - shared


def bytes_per_pair(maker: CandidateMaker, keep_embeds: bool) -> int:
    """Return the size of a pair in a shard, pictures left out."""
    shape, dims = maker.backbone.latent_shape(), maker.backbone.embed_dims()
    members = [2 * 2 * math.prod(shape) + 200, 300]
    if keep_embeds:
        members.append(2 * (dims["prompt_embed_dim"] * dims["prompt_length"] + dims["pooled_embed_dim"]) + 200)
    return sum(TAR_BLOCK + -(-size // TAR_BLOCK) * TAR_BLOCK for size in members)
