"""What was collected, and what would be: the texts that ``collect.py`` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from collect.plan import USED, CollectionPlan
from collect.status import size_text
from collect.survey import Survey
from npnet.drawing.terminal import print_facts

if TYPE_CHECKING:
    from collect.candidates import CandidateMaker

TAR_BLOCK = 512


def print_summary(found: Survey, seconds: float | None = None) -> None:
    """Print a table of a finished folder; ``seconds`` is this run's time, None where there was nothing to do."""
    from collect.card import gain_text, keep_rate_text
    from npnet.work.progress import duration

    rows = [
        ("pairs tried", f"{found.num_tried:,}"),
        ("pairs kept", f"{found.num_kept:,}"),
        ("keep rate", keep_rate_text(found)),
    ]
    for reason, count in found.rejected.items():
        rows.append((f"rejected, {reason}", f"{count:,}"))
    for metric in found.metrics:
        gains = [gain for gain, _ in found.gains(metric)]
        if gains:
            rows.append((f"mean gain, {metric}", gain_text(gains)))
    sidecars = [shard.sidecar for shard in found.shards]
    forwards = [sidecar["cost"]["forwards"] for sidecar in sidecars if "cost" in sidecar]
    if forwards and found.num_tried:
        rows.append(("forwards per pair", f"{sum(forwards) / found.num_tried:.4g}"))
    rows.append(("size", size_text(found.num_bytes)))
    shrunk = [sidecar["smallest_batch"] for sidecar in sidecars if sidecar.get("smallest_batch")]
    if shrunk:
        rows.append(("batch size shrunk to", f"{min(shrunk)} (out of memory, in {len(shrunk)} shards)"))
    notes = {f"{k}: {note}" for sidecar in sidecars for k, ns in sidecar.get("notes", {}).items() for note in ns}
    for note in sorted(notes)[:3]:
        rows.append(("note", note))
    if seconds is not None:
        rows.append(("time of this run", duration(seconds)))
    print_facts(found.folder, rows)


def dry_run_text(plan: CollectionPlan, maker: CandidateMaker) -> str:
    """Say what would be done, from the built parts alone; nothing is loaded."""
    config, samples = plan.config, plan.samples
    seeds = config["seeds"]
    num_prompts = len({sample.prompt_index for sample in samples})
    drawn = f"the list {seeds['list']}" if seeds["list"] is not None else f"drawn from {seeds['range']}"
    forwards = forwards_per_pair(maker)
    pair_bytes = bytes_per_pair(maker, config["keep_embeds"])
    size = f"{size_text(pair_bytes)} for each kept pair, at most {size_text(pair_bytes * len(samples))}"
    size += " (and the pictures)" if config["keep_images"] else ""
    lines = [
        f"backbone           {maker.backbone.name}, {maker.num_inference_steps} steps, guidance_scale "
        f"{maker.guidance_scale:g}",
        f"prompts            {num_prompts}, first: {samples[0].prompt!r}",
        *(f"                   {count} {name}" for name, count in plan.prompt_counts.items() if name != USED and count),
        f"seeds              {len(samples) // num_prompts} for each prompt, {drawn}",
        f"pairs to try       {len(samples)} in {plan.num_chunks} chunks of {config['chunk_size']}",
        f"golden candidates  noise={maker.label}, selected by {', '.join(plan.request['selected_by'])}",
        f"forwards per pair  {'depends on the data' if forwards is None else forwards}",
        f"bytes              {size}",
        f"written to         {plan.output_dir}",
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
