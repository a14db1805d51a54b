"""The stages of a build: each trains or measures one part, writes its files and returns its figures."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from npnet.shapes.grammar import held_out_prompts, prompts, training_prompts
from npnet.shapes.kinds import Autoencoder, Pipeline
from npnet.shapes.pipeline import assemble, load_pipeline, make_unet, save_pipeline
from npnet.shapes.quality import measure_autoencoder, measure_generator, measure_scorer, measure_text_encoders
from npnet.shapes.scorer import ShapesScorer
from npnet.shapes.tokenizer import make_tokenizer
from npnet.shapes.train_network import train_networks
from npnet.shapes.train_scorer import train_scorer
from npnet.shapes.train_text import train_text_encoders
from npnet.shapes.train_unet import snapshot_steps, train_unet
from npnet.shapes.train_vae import encode_training_set, train_vae
from npnet.shapes.training import stream
from npnet.shapes.variants import Variant

__all__ = ["RULE", "STAGES", "Place", "Stage", "apply_rule"]

TEN_STEPS, FOUR_STEPS, GUIDANCE = 10, 4, 5.5
GOOD_TEN_STEPS = 0.96
FOUR_STEPS_BAND = (0.62, 0.82)
RULE = (
    f"the earliest snapshot with at least {GOOD_TEN_STEPS:.0%} at {TEN_STEPS} steps and "
    f"{FOUR_STEPS_BAND[0]:.0%} to {FOUR_STEPS_BAND[1]:.0%} at {FOUR_STEPS} steps; otherwise the best at {TEN_STEPS} "
    "steps among those in that band; otherwise the last. Training prompts alone."
)


@dataclass(frozen=True)
class Place:
    """Where a build keeps its files."""

    output: Path

    @property
    def work(self) -> Path:
        """Return the folder of intermediate files."""
        return self.output / "work"

    def note(self, name: str) -> Path:
        """Return a stage's figures, as JSON; written last, so a stage that has them is done."""
        return self.work / f"{name}.json"


def make_vae(variant: Variant, place: Place) -> dict[str, Any]:
    """Train and measures the autoencoder."""
    vae = train_vae(variant)
    vae.save_pretrained(place.work / "vae")
    return measure_autoencoder(vae, prompts(), variant.num_measured, stream(variant, "vae quality"))


def load_vae(place: Place) -> Autoencoder:
    """Return the autoencoder of the first stage."""
    return AutoencoderKL.from_pretrained(place.work / "vae", low_cpu_mem_usage=False)


def make_latents(variant: Variant, place: Place) -> dict[str, Any]:
    """Encode the generator's training pictures."""
    data = encode_training_set(variant, load_vae(place).requires_grad_(False))
    save_file(data, place.work / "latents.safetensors")
    return {"count": len(data["latents"])}


def make_text_encoders(variant: Variant, place: Place) -> dict[str, Any]:
    """Train and measures the text encoders."""
    encoders = train_text_encoders(variant)
    encoders.first.save_pretrained(place.work / "text_encoder")
    encoders.second.save_pretrained(place.work / "text_encoder_2")
    generator = stream(variant, "text quality")
    groups = {"training_prompts": training_prompts(), "held_out_prompts": held_out_prompts()}
    return {
        name: measure_text_encoders(encoders, group, variant.num_measured, generator) for name, group in groups.items()
    }


def make_scorer(variant: Variant, place: Place) -> dict[str, Any]:
    """Train and measures the scorer."""
    train_scorer(variant).save(place.output / "scorer")
    scorer = ShapesScorer.from_directory(place.output / "scorer")
    generator = stream(variant, "scorer quality")
    return {"held_out_prompts": measure_scorer(scorer, held_out_prompts(), variant.num_measured, generator)}


def join_parts(variant: Variant, place: Place) -> Pipeline:
    """Return the trained parts with an untrained denoiser."""
    return assemble(
        load_vae(place),
        CLIPTextModel.from_pretrained(place.work / "text_encoder", dtype=torch.float32),
        CLIPTextModelWithProjection.from_pretrained(place.work / "text_encoder_2", dtype=torch.float32),
        make_tokenizer(),
        make_unet(variant),
    )


def make_unet_snapshots(variant: Variant, place: Place) -> dict[str, Any]:
    """Train the denoiser."""
    train_unet(variant, join_parts(variant, place), load_file(place.work / "latents.safetensors"), place.work)
    return {"steps": variant.unet_steps}


def choose_snapshot(variant: Variant, place: Place) -> dict[str, Any]:
    """Measure each snapshot on the same training prompts and noises, and applies ``RULE``."""
    pipeline = join_parts(variant, place)
    scorer = ShapesScorer.from_directory(place.output / "scorer")
    table = []
    for step in snapshot_steps(variant):
        pipeline.unet.load_state_dict(load_file(place.work / f"unet-{step:06d}.safetensors"))
        row: dict[str, Any] = {"step": step}
        for name, steps in (("ten_steps", TEN_STEPS), ("four_steps", FOUR_STEPS)):
            generator = stream(variant, "choice of a snapshot")
            row[name] = measure_generator(
                pipeline, scorer, training_prompts(), variant.num_checked, generator, steps, GUIDANCE
            )
        table.append(row)
        print(
            f"  choose  step {step}: {row['ten_steps']['share']:.1%}, {row['four_steps']['share']:.1%}",
            file=sys.stderr,
            flush=True,
        )
    return {"rule": RULE, "step": apply_rule(table), "snapshots": table}


def apply_rule(table: list[dict[str, Any]]) -> int:
    """Return the step of the snapshot that ``RULE`` picks."""
    low, high = FOUR_STEPS_BAND
    inside = [row for row in table if low <= row["four_steps"]["share"] <= high]
    good = [row for row in inside if row["ten_steps"]["share"] >= GOOD_TEN_STEPS]
    if good:
        return good[0]["step"]
    return max(inside, key=lambda row: row["ten_steps"]["share"])["step"] if inside else table[-1]["step"]


def pack(variant: Variant, place: Place) -> dict[str, Any]:
    """Write the pipeline with the chosen snapshot."""
    step = json.loads(place.note("choose").read_text())["step"]
    pipeline = join_parts(variant, place)
    pipeline.unet.load_state_dict(load_file(place.work / f"unet-{step:06d}.safetensors"))
    shutil.rmtree(place.output / "pipeline", ignore_errors=True)
    save_pipeline(pipeline, place.output / "pipeline")
    files = [path for name in ("pipeline", "scorer") for path in (place.output / name).rglob("*") if path.is_file()]
    return {"total_bytes": sum(path.stat().st_size for path in files)}


def measure(variant: Variant, place: Place) -> dict[str, Any]:
    """Measure the packed pipeline on seeds that were not used before."""
    pipeline = load_pipeline(place.output / "pipeline")
    scorer = ShapesScorer.from_directory(place.output / "scorer")
    groups = {"training_prompts": training_prompts(), "held_out_prompts": held_out_prompts()}
    figures: dict[str, Any] = {}
    for guidance_scale, steps in ((GUIDANCE, TEN_STEPS), (GUIDANCE, FOUR_STEPS), (3.0, TEN_STEPS)):
        for name, group in groups.items():
            generator = stream(variant, f"final figures, {name}")
            row = measure_generator(pipeline, scorer, group, variant.num_measured, generator, steps, guidance_scale)
            figures.setdefault(f"guidance {guidance_scale:g}, {steps} steps", {})[name] = row
    return figures


def make_networks(variant: Variant, place: Place) -> dict[str, Any]:
    """Train the networks that ship with the model, on pairs of the packed pipeline."""
    keys = {"collect": variant.collect_keys, "train": variant.train_keys, "reward": variant.reward_keys}
    return train_networks(place.output, place.work, keys)


Stage = Callable[[Variant, Place], dict[str, Any]]
STAGES: tuple[tuple[tuple[tuple[str, Stage], ...], ...], ...] = (
    ((("vae", make_vae), ("latents", make_latents)), (("text", make_text_encoders), ("scorer", make_scorer))),
    ((("unet", make_unet_snapshots),),),
    ((("choose", choose_snapshot),),),
    ((("pack", pack), ("quality", measure)),),
    ((("network", make_networks),),),
)
"""What a build runs: one row after another, the chains of a row side by side in a thread each."""
