"""What "Beyond Randomness" (arXiv 2511.07756) draws in its figures 3 and 5, measured on the built-in Shapes model.

    python benchmarks/erasure_figures.py semantics    # figure 3: what a noise means to the model without a prompt
    python benchmarks/erasure_figures.py sweep        # figure 5: n and delta of erasure and injection
    python benchmarks/erasure_figures.py settings     # levels, guidance and delta, side by side

``semantics`` samples noises with the empty prompt, before and after erasure, and finds for each the prompt that its
picture shows best (by the scorer, among all 1920): the noise's own meaning. The same noise is then sampled with that
prompt, and with one drawn at random.

``sweep`` and ``settings`` compare erasure and injection with the standard noise on training prompts, so that held-out
ones remain a test, and print paired differences and winning rates with 95 % intervals over prompts. The defaults of
``conf/noise/erasure_injection.yaml`` come from these tables. Of many settings the best one is overrated.

Each command prints a table in Markdown; pictures are written under ``--output``.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones import Shapes
from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.data.prompts import Sample
from npnet.engine.batches import Sampling
from npnet.engine.methods import evaluate_methods
from npnet.metrics import Metric, ShapesJudge, ShapesScorer, statistics
from npnet.noise import ErasureInjection, NoiseMethod, SemanticErasure, Standard, load_methods
from npnet.report.formats import with_interval
from npnet.shapes import grammar

SETTING_LEVELS = ((0.0,), (0.0, 0.5), (0.0, 0.5, 1.0))
"""Of ``settings``: places of the predictions among the sampler's levels."""


def training_samples(args: argparse.Namespace) -> list[Sample]:
    """Return as many pairs of a training prompt and a seed as asked for, each prompt as often as any other."""
    prompts = grammar.training_prompts()
    order = torch.randperm(len(prompts), generator=seeding.stream(args.seed, "prompts")).tolist()
    return [Sample(i, prompts[order[i % len(order)]], args.first_seed + i) for i in range(args.pairs)]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, the first column to the left and the others to the right."""
    for row in (head, [":--", *["--:"] * (len(head) - 1)], *rows):
        print(f"| {' | '.join(row)} |", flush=True)


# --- figure 5 --------------------------------------------------------------------------------------------------------


def compare(
    backbone: LoadedBackbone,
    metrics: Mapping[str, Metric],
    args: argparse.Namespace,
    settings: Mapping[str, NoiseMethod],
) -> dict[str, statistics.Comparison]:
    """Print one row for each setting against the standard noise; return its comparison by the judge."""
    samples = training_samples(args)
    methods = load_methods({"standard": Standard(), **settings}, backbone, metrics)
    sampling = Sampling(args.steps, args.guidance_scale, seed=args.seed)
    records = evaluate_methods(backbone, methods, metrics, samples, sampling, args.batch_size)
    prompts, found, rows = [sample.prompt for sample in samples], {}, []
    standard = list(records["standard"].scores.values())
    for name in settings:
        score, judge = statistics.compare(list(records[name].scores.values()), standard, prompts)
        found[name] = judge
        differences = ((judge, 1), (score, 2))
        gains = [with_interval(c.mean_difference, c.difference_interval, 100, d, signed=True) for c, d in differences]
        rows.append([name, *gains, with_interval(score.winning_rate, score.interval, 100, 1)])
    right = statistics.means([standard[1]], prompts)[0]
    share = f"standard: {with_interval(right.mean, right.interval, 100, 1)} %"
    print(f"\n{len(samples)} training pairs, {args.steps} steps, guidance {args.guidance_scale:g}; {share}\n")
    print_table(("setting", "judge, gain in points", "scorer, gain x 100", "scorer, winning rate %"), rows)
    return found


def sweep(backbone: LoadedBackbone, metrics: Mapping[str, Metric], args: argparse.Namespace) -> None:
    """Print and plot every n against every delta."""
    from matplotlib.figure import Figure

    settings = {
        (n, delta): ErasureInjection(args.steps, args.guidance_scale, n, delta)
        for n, delta in itertools.product(args.num_noises, args.deltas)
    }
    found = compare(backbone, metrics, args, {f"n = {n}, delta = {d:g}": m for (n, d), m in settings.items()})
    judged = dict(zip(settings, found.values(), strict=True))
    figure = Figure(figsize=(6.4, 3.8))
    axis = figure.subplots()
    for place, n in enumerate(args.num_noises):
        line = [judged[n, delta] for delta in args.deltas]
        values = [100 * point.mean_difference for point in line]
        ends = [[100 * point.difference_interval[side] for point in line] for side in (0, 1)]
        errors = [[v - low for v, low in zip(values, ends[0], strict=True)],
                  [high - v for v, high in zip(values, ends[1], strict=True)]]  # fmt: skip
        shifted = [delta + 0.012 * (place - (len(args.num_noises) - 1) / 2) for delta in args.deltas]
        axis.errorbar(shifted, values, errors, label=f"n = {n}", marker="osD^v"[place % 5], markersize=4, capsize=2)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_xlabel("delta: below 0 towards the prompt, above 0 away from it")
    axis.set_ylabel("judge, gain on standard in points")
    axis.set_title(f"Erasure and injection on Shapes: {args.pairs} training pairs, 95 % intervals", fontsize=9)
    axis.legend(frameon=False)
    save(figure, args, "erasure_sweep.png")


def settings(backbone: LoadedBackbone, metrics: Mapping[str, Metric], args: argparse.Namespace) -> None:
    """Print the choices that the formulas leave open, at n = 1."""
    chosen = {}
    for levels, scale, delta in itertools.product(SETTING_LEVELS, (1.0, args.guidance_scale), args.deltas):
        places = ", ".join(f"{level:g}" for level in levels)
        chosen[f"levels {places}; guidance {scale:g}; delta {delta:g}"] = ErasureInjection(
            args.steps, scale, 1, delta, levels
        )
    compare(backbone, metrics, args, chosen)


# --- figure 3 --------------------------------------------------------------------------------------------------------


def semantics(backbone: LoadedBackbone, metrics: Mapping[str, Metric], args: argparse.Namespace) -> None:
    """Print how well a noise shows its own prompt and another; draw the pictures."""
    samples, num_noises = training_samples(args), args.num_noises[-1]
    other, seeds = [sample.prompt for sample in samples], [sample.seed for sample in samples]
    noise = seeding.source_noises(seeds, backbone.latent_shape())
    generators = seeding.streams(seeds, "noise method")
    erased = SemanticErasure(num_noises).load(backbone)(noise, backbone.encode(other), backbone, generators).noise
    rows, strips = [], []
    for name, given in (("drawn", noise), (f"erased, n = {num_noises}", erased)):
        empty = pictures(backbone, given, other, args, empty=True)
        strips.append((f"{name}:\nno prompt", empty[: args.columns]))
        for kind, prompts in (("its own", own_prompts(metrics["scorer"], empty)), ("another", other)):
            images = pictures(backbone, given, prompts, args)
            values = [metric.score(images, prompts).tolist() for metric in (metrics["judge"], metrics["scorer"])]
            judge, score = statistics.means(values, prompts)
            right = with_interval(judge.mean, judge.interval, 100, 1)
            rows.append([name, kind, str(judge.count), right, with_interval(score.mean, score.interval, 100, 2)])
            strips.append((f"{name}:\n{kind} prompt", images[: args.columns]))
    print(f"\n{args.pairs} noises, {args.steps} steps, guidance {args.guidance_scale:g} with a prompt, none without\n")
    print_table(("noise", "prompt", "count", "judge, % right", "scorer x 100"), rows)
    draw(strips, args)


def pictures(
    backbone: LoadedBackbone, noise: Tensor, prompts: Sequence[str], args: argparse.Namespace, empty: bool = False
) -> Tensor:
    """Sample ``noise`` ``(N, 4, 16, 16)``; ``empty``: with the empty prompt's embeddings alone. ``(N, 3, 32, 32)``."""
    conditioning = backbone.encode(prompts)
    if empty:
        conditioning = replace(
            conditioning,
            prompt_embeds=conditioning.negative_prompt_embeds,
            pooled_prompt_embeds=conditioning.negative_pooled_prompt_embeds,
        )
    images = []
    for start in range(0, len(noise), args.batch_size):
        part = slice(start, start + args.batch_size)
        scale = 1.0 if empty else args.guidance_scale
        images.append(backbone.decode(backbone.sample(noise[part], conditioning[part], args.steps, scale)))
    return torch.cat(images)


def own_prompts(scorer: Any, images: Tensor) -> list[str]:
    """Return, for each picture, the prompt of all 1920 that it shows best by the scorer."""
    prompts = grammar.prompts()
    shown = scorer.model.embed_images(images)
    similarity = shown @ scorer.model.embed_scenes([grammar.parse(prompt) for prompt in prompts]).T
    return [prompts[place] for place in similarity.argmax(1).tolist()]


def draw(strips: Sequence[tuple[str, Tensor]], args: argparse.Namespace) -> None:
    """Draw one row of pictures for each strip."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(0.8 * (args.columns + 1.5), 0.86 * len(strips)))
    axes = figure.subplots(len(strips), args.columns, squeeze=False)
    for row, (title, images) in zip(axes, strips, strict=True):
        row[0].set_ylabel(title, fontsize=7, rotation=0, ha="right", va="center")
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
    figure.subplots_adjust(wspace=0.05, hspace=0.05)
    save(figure, args, "erasure_semantics.png")


def save(figure: Any, args: argparse.Namespace, name: str) -> None:
    """Write a figure under ``--output``."""
    path = Path(args.output) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
    print(f"\nwrote {path}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["semantics", "sweep", "settings"])
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance-scale", type=float, default=5.5)
    parser.add_argument("--num-noises", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--deltas", type=float, nargs="+", default=[-0.7, -0.5, -0.3, -0.1, 0.0, 0.1, 0.3])
    parser.add_argument("--first-seed", type=int, default=500_000, help="seeds that collection never draws")
    parser.add_argument("--seed", type=int, default=0, help="names the draws of prompts and noises")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--columns", type=int, default=12, help="noises shown in the picture of `semantics`")
    parser.add_argument("--output", default="outputs/erasure_figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    backbone = Shapes(device="cpu").load()
    metrics = {"scorer": ShapesScorer().load(), "judge": ShapesJudge().load()}
    with torch.no_grad():
        {"semantics": semantics, "sweep": sweep, "settings": settings}[args.command](backbone, metrics, args)


if __name__ == "__main__":
    main()
