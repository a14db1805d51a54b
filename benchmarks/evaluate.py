"""How many pictures evaluate.py draws and scores, against a plain loop over diffusers' own pipeline.

    OMP_NUM_THREADS=1 python benchmarks/evaluate.py     # on Shapes, a few minutes

Both draw the pictures of the same prompts from the same noise, with the same model, and score them with the same
metric; the scores are compared. Ours is the job that evaluate.py runs, with the method ``standard``, its cells written;
once as the plain loop is, and once as the command is by default, which also measures how far pictures of a prompt lie
apart (``diversity``). The plain loop is run prompt by prompt, and in batches as large as ours. Rounds alternate; a
ratio is another way's CPU time over ours, of the same round: the geometric mean over rounds with its 95 % interval
(Student's t).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# this file has the name of a script beside the package, and its folder would come first
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from scipy import stats

from npnet import seeding
from npnet.evaluation.cells import FOLDER
from npnet.evaluation.evaluation import EvaluationJob
from npnet.evaluation.plan import make_plan
from npnet.evaluation.store import Store
from npnet.paths import config_dir
from npnet.work.numerics import Numerics
from npnet.work.torch_settings import torch_settings


@torch.no_grad()
def plain(job: EvaluationJob, batch_size: int) -> list[float]:
    """Draw and score the pictures of the first chunk as one would with diffusers."""
    evaluator, settings = job._evaluator, job.settings
    assert evaluator is not None
    backbone, (metric,) = evaluator.backbone, evaluator.scorers.values()
    samples, scores = job.chunk(0), []
    for start in range(0, len(samples), batch_size):
        part = samples[start : start + batch_size]
        prompts = [sample.prompt for sample in part]
        noise = seeding.source_noises([sample.seed for sample in part], backbone.latent_shape()).to(backbone.device)
        drawn = backbone.pipeline(
            prompts,
            height=backbone.description.height,
            width=backbone.description.width,
            latents=noise,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            output_type="pt",
        )
        scores += metric.score(drawn.images, prompts).tolist()
    return scores


def ours(job: EvaluationJob) -> list[float]:
    """Run the job's first chunk from nothing, and return the scores that it left."""
    shutil.rmtree(job.output_dir / FOLDER, ignore_errors=True)
    job.store = Store(job.output_dir, job.wanted.methods.values(), mends=True)
    job.run(0, lambda advance: None)
    job.store.refresh()
    (method,), (digest,) = job.wanted.methods.values(), job.wanted.metrics.values()
    places = [job.store.score(method, digest, (sample.prompt, sample.seed)) for sample in job.chunk(0)]
    return [place[1].scores[digest][place[2]] for place in places if place is not None]


def loaded(folder: str, *overrides: str) -> EvaluationJob:
    """Return the job of an evaluation, its models loaded."""
    job = EvaluationJob(make_plan(compose("evaluate", [f"output_dir={folder}", *overrides])), folder)
    job.setup(0, "cpu")
    return job


def seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def ratio(values: Sequence[float], others: Sequence[float]) -> str:
    """Return the geometric mean of ``values / others`` with its interval."""
    logs = np.log(np.array(values) / np.array(others))
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    low, middle, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    return f"{middle:.2f}x [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=64)
    options = parser.parse_args()
    count = options.pictures
    with tempfile.TemporaryDirectory() as name, initialize_config_dir(str(config_dir()), version_base="1.3"):
        asked = [f"prompts.limit={count}", f"batch_size={count}", f"chunk_size={count}", "seeds.per_prompt=1"]
        asked += ["noise=standard", "metric=shapes_scorer", "keep_images=0"]
        job = loaded(f"{name}/same", *asked, "diversity=[]")
        as_shipped = loaded(f"{name}/shipped", *asked)
        ways: dict[str, Callable[[], list[float]]] = {
            "plain, prompt by prompt": lambda: plain(job, 1),
            f"plain, batches of {count}": lambda: plain(job, count),
            "ours": lambda: ours(job),
            "ours, with diversity": lambda: ours(as_shipped),
        }
        with torch_settings(Numerics(), "cpu"):
            first = {way: np.array(run()) for way, run in ways.items()}  # not measured
            times: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(options.rounds):
                for way in [*ways] if turn % 2 == 0 else [*ways][::-1]:
                    times[way].append(seconds(ways[way]))
    print(f"{count} pictures, {options.rounds} rounds, load average {os.getloadavg()[0]:.1f}\n")
    print("| | pictures a CPU second | its time over ours | largest difference of a score |\n|---|---|---|---|")
    for way, found in times.items():
        difference = np.abs(first[way] - first["ours"]).max()
        print(f"| {way} | {count / np.median(found):.1f} | {ratio(found, times['ours'])} | {difference:.1e} |")


if __name__ == "__main__":
    main()
