"""Makes the Shapes models from a seed: ``npnet build-shapes``, under an hour on two cores.

Stages, each skipped where its files exist already, so that the same command resumes a build:

    vae      the autoencoder                        } in one process
    latents  the generator's training pictures      }
    text     the text encoders, frozen afterwards   } in another, at the same time
    scorer   the learned measure                    }
    unet     the denoiser, with snapshots on the way
    choose   which snapshot to ship, by training prompts alone
    pack     the pipeline as diffusers stores it
    quality  every figure, on new seeds and on held-out prompts too
    network  the recommended network and the paper's, trained on pairs of the packed pipeline, and the recommended one
             again after further training on the scorer

``OUTPUT/work`` may be deleted. The rest of ``OUTPUT`` is what is shipped, under ``npnet/shapes/weights/VARIANT``:
``pipeline``, ``scorer``, ``network``, ``network_paper``, ``network_reward`` and ``quality.json``.
"""

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
import torch.multiprocessing
import transformers

from npnet.shapes.stages import STAGES, Place
from npnet.shapes.variants import Variant

__all__ = ["build", "quick"]


def run_chain(names: list[str], variant: Variant, place: Place, num_threads: int) -> None:
    """Run the stages of those names that are not done yet."""
    torch.set_num_threads(num_threads)
    transformers.utils.logging.disable_progress_bar()
    stages = {name: stage for row in STAGES for chain in row for name, stage in chain}
    for name in names:
        if place.note(name).is_file():
            print(f"{name:>8}  done before", file=sys.stderr, flush=True)
            continue
        start = time.monotonic()
        figures = stages[name](variant, place)
        seconds = round(time.monotonic() - start, 1)
        unfinished = place.note(name).with_suffix(".part")
        unfinished.write_text(json.dumps({**figures, "wall_seconds": seconds}, indent=2) + "\n")
        unfinished.replace(place.note(name))
        print(f"{name:>8}  done in {seconds:.0f} s", file=sys.stderr, flush=True)


def build(variant: Variant, output: Path, num_threads: int = 2) -> dict[str, Any]:
    """Run all stages and returns what it writes to ``quality.json``; threads are those of the stages that run alone."""
    place = Place(output)
    place.work.mkdir(parents=True, exist_ok=True)
    request = json.loads(json.dumps(asdict(variant)))
    if place.note("variant").is_file() and json.loads(place.note("variant").read_text()) != request:
        raise ValueError(f"{output} holds a build of other settings; give another output, or remove it")
    place.note("variant").write_text(json.dumps(request, indent=2) + "\n")
    for row in STAGES:
        chains = [[name for name, _ in chain] for chain in row]
        if len(chains) == 1:
            run_chain(chains[0], variant, place, num_threads)
        else:
            _run_side_by_side(chains, variant, place)
    names = [name for row in STAGES for chain in row for name, _ in chain]
    figures = {
        "variant": request,
        "stages": {name: json.loads(place.note(name).read_text()) for name in names},
        "versions": {module.__name__: module.__version__ for module in (torch, diffusers, transformers)},
    }
    seconds = [[sum(figures["stages"][name]["wall_seconds"] for name, _ in chain) for chain in row] for row in STAGES]
    figures["wall_seconds"] = round(sum(map(max, seconds)), 1)
    (output / "quality.json").write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def _run_side_by_side(chains: list[list[str]], variant: Variant, place: Place) -> None:
    context = torch.multiprocessing.get_context("spawn")
    workers = [context.Process(target=run_chain, args=(chain, variant, place, 1)) for chain in chains]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    failed = [chain for chain, worker in zip(chains, workers, strict=True) if worker.exitcode]
    if failed:
        raise RuntimeError(f"a stage failed among: {', '.join(name for chain in failed for name in chain)}")


def quick(variant: Variant) -> Variant:
    """Return a handful of steps of everything, for a test of the path; the result draws nothing."""
    return replace(
        variant,
        vae_steps=3,
        text_steps=3,
        scorer_steps=3,
        unet_steps=3,
        collect_keys=("prompts.limit=8", "keep_all=true"),
        train_keys=("trainer.max_epochs=1", "data.kept_only=false"),
        reward_keys=("trainer.max_epochs=1", "trainer.limit_train_batches=1", "objective.validation_prompts=1"),
        first_snapshot=2,
        snapshot_every=2,
        num_latents=256,
        num_checked=8,
        num_measured=16,
    )
