"""What "Beyond Randomness" (arXiv 2511.07756) draws in its figures 3 and 5, measured on the built-in Shapes model.

    python benchmarks/erasure_figures.py semantics    # figure 3: what a noise means to the model without a prompt
    python benchmarks/erasure_figures.py sweep        # figure 5: n and delta of erasure and injection
    python benchmarks/erasure_figures.py settings     # the unpublished choices, side by side

``semantics`` samples every noise with the empty prompt and finds the prompt that its picture shows best (by the scorer,
among all 1920): the noise's own meaning. The same noise is then sampled with its own prompt, and with one drawn at
random. It does the same for the noise after erasure.

``sweep`` and ``settings`` compare erasure and injection with the standard noise on the same training prompts and
noises, and print for each setting the paired differences of scorer and judge and the winning rate, with 95 % intervals
over prompts and counts. The defaults in ``conf/noise/erasure_injection.yaml`` were chosen from these tables: on
training prompts, so that held-out ones remain a test. Of M settings the best one is overrated; read its interval with
that in mind.

Each command prints a table in Markdown and writes pictures under ``--output``.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from npnet import seeding
from npnet.backbones import Shapes
from npnet.metrics import ShapesJudge, ShapesScorer, statistics
from npnet.noise import ErasureInjection, SemanticErasure
from npnet.records import Conditioning
from npnet.shapes import grammar

ROW = "| {:<44} | {:>5} | {:>22} | {:>20} | {:>22} |"


class Bench:
    """The model, its two metrics, and samplings of many noises in batches."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.backbone = Shapes(path=args.pipeline, device="cpu").load()
        self.scorer, self.judge = ShapesScorer(args.scorer).load(), ShapesJudge().load()
        self.steps, self.scale, self.batch = args.steps, args.guidance_scale, args.batch_size

    def pictures(self, noise: Tensor, conditioning: Conditioning, guidance_scale: float) -> Tensor:
        """Sample ``noise`` ``(B, 4, 16, 16)``: pictures ``(B, 3, 32, 32)``."""
        latents = self.backbone.sample(noise, conditioning, self.steps, guidance_scale)
        return self.backbone.decode(latents)

    def slices(self, count: int) -> Iterator[slice]:
        """Yield the batches of ``count`` samples."""
        yield from (slice(start, start + self.batch) for start in range(0, count, self.batch))

    def judged(self, noise: Tensor, conditioning: Conditioning) -> tuple[list[float], list[float]]:
        """Sample with the prompts and return the scorer's and the judge's values."""
        scores, verdicts = [], []
        for part in self.slices(len(noise)):
            images = self.pictures(noise[part], conditioning[part], self.scale)
            scores += self.scorer.score(images, conditioning[part].prompts).tolist()
            verdicts += self.judge.score(images, conditioning[part].prompts).tolist()
        return scores, verdicts


def pairs(bench: Bench, args: argparse.Namespace) -> tuple[Tensor, Conditioning, list[int]]:
    """Return the noises, prompts and seeds of a comparison: training prompts, each as often as any other."""
    prompts = grammar.training_prompts()
    order = torch.randperm(len(prompts), generator=seeding.stream(args.seed, "prompts")).tolist()
    chosen = [prompts[order[i % len(order)]] for i in range(args.pairs)]
    seeds = [args.first_seed + i for i in range(args.pairs)]
    return seeding.source_noises(seeds, bench.backbone.latent_shape()), bench.backbone.encode(chosen), seeds


def changed(
    bench: Bench, method: ErasureInjection, noise: Tensor, conditioning: Conditioning, seeds: Sequence[int]
) -> Tensor:
    """Apply ``method`` to every noise."""
    parts = [
        method(noise[p], conditioning[p], bench.backbone, seeding.streams(seeds[p], "noise method")).noise
        for p in bench.slices(len(noise))
    ]
    return torch.cat(parts)


def compare(bench: Bench, args: argparse.Namespace, settings: dict[str, ErasureInjection]) -> dict[str, list[float]]:
    """Print one row for each setting against the standard noise; return its paired scorer differences."""
    noise, conditioning, seeds = pairs(bench, args)
    standard = bench.judged(noise, conditioning)
    verdict = statistics.means([standard[1]], conditioning.prompts)[0]
    print(
        f"\n{args.pairs} training pairs, {bench.steps} steps, guidance {bench.scale:g}; standard: judge {rate(verdict)}"
    )
    print(ROW.format("setting", "pairs", "scorer difference", "winning rate", "judge difference"))
    print(ROW.format(*(":--", "--:", "--:", "--:", "--:")))
    differences = {}
    for name, method in settings.items():
        values = bench.judged(changed(bench, method, noise, conditioning, seeds), conditioning)
        score, judge = statistics.compare(values, standard, conditioning.prompts)
        print(
            ROW.format(
                name,
                score.count,
                interval(score.mean_difference, score.difference_interval, 1, 4),
                interval(score.winning_rate, score.interval, 100, 1),
                interval(judge.mean_difference, judge.difference_interval, 100, 1),
            ),
            flush=True,
        )
        differences[name] = [score.mean_difference, *score.difference_interval]
    return differences


def interval(value: float, ends: Sequence[float], scale: float, decimals: int) -> str:
    """Write ``value [low, high]``, each times ``scale``."""
    low, middle, high = (f"{scale * number:+.{decimals}f}" for number in (ends[0], value, ends[1]))
    return f"{middle} [{low}, {high}]"


def rate(value: statistics.Mean) -> str:
    """Write a share as per cent with its interval."""
    return f"{100 * value.mean:.1f} % [{100 * value.interval[0]:.1f}, {100 * value.interval[1]:.1f}]"


# --- figure 5 --------------------------------------------------------------------------------------------------------


def sweep(bench: Bench, args: argparse.Namespace) -> None:
    """Print and plot every n against every delta."""
    import matplotlib.pyplot as plt

    guidance = bench.scale if args.prediction_guidance is None else args.prediction_guidance
    common = {"positions": args.positions, "renormalise": args.renormalise}
    grid = list(itertools.product(args.num_noises, args.deltas))
    names = {(n, delta): f"n={n} delta={delta:g}" for n, delta in grid}
    settings = {names[n, d]: ErasureInjection(bench.steps, guidance, n, d, **common) for n, d in grid}
    found = compare(bench, args, settings)
    figure, axis = plt.subplots(figsize=(6.4, 4.0))
    for n in args.num_noises:
        values = [found[names[n, delta]] for delta in args.deltas]
        errors = [[v[0] - v[1] for v in values], [v[2] - v[0] for v in values]]
        axis.errorbar(args.deltas, [v[0] for v in values], errors, label=f"n = {n}", capsize=2, lw=1)
    axis.axhline(0, color="grey", lw=0.8)
    axis.set_xlabel("delta")
    axis.set_ylabel("scorer, difference to standard")
    axis.set_title(f"Erasure and injection on Shapes, {args.pairs} training pairs, 95 % intervals")
    axis.legend()
    save(figure, args, "sweep.png")


def settings(bench: Bench, args: argparse.Namespace) -> None:
    """Print the choices that the formulas leave open, at n = 1."""
    chosen: dict[str, ErasureInjection] = {}
    for positions, scale, delta in itertools.product(
        ((0.0,), (0.0, 0.5), (0.0, 0.5, 1.0)), (1.0, bench.scale), args.deltas
    ):
        places = ",".join(f"{position:g}" for position in positions)
        chosen[f"t=[{places}] guidance={scale:g} delta={delta:g}"] = ErasureInjection(
            bench.steps, scale, 1, delta, positions, renormalise=args.renormalise
        )
    compare(bench, args, chosen)


# --- figure 3 --------------------------------------------------------------------------------------------------------


def semantics(bench: Bench, args: argparse.Namespace) -> None:
    """Print how well a noise shows its own prompt and another; draw the empty-prompt pictures."""
    shape = bench.backbone.latent_shape()
    seeds = [args.first_seed + i for i in range(args.pairs)]
    noise = seeding.source_noises(seeds, shape)
    other = draw_prompts(args)
    generators = seeding.streams(seeds, "noise method")
    erased = SemanticErasure(args.num_noises[-1])(noise, bench.backbone.encode(other), bench.backbone, generators).noise
    sheets = []
    print(f"\n{args.pairs} noises, {bench.steps} steps, guidance {bench.scale:g} with a prompt, none without")
    print("| noise | prompt | count | judge: right | scorer |\n| :-- | :-- | --: | --: | --: |")
    for name, given in (("drawn", noise), (f"erased, n = {args.num_noises[-1]}", erased)):
        empty = empty_prompt_pictures(bench, given, other)
        own = own_prompts(bench, empty)
        for prompt_name, prompts in (("its own", own), ("another", other)):
            scores, verdicts = bench.judged(given, bench.backbone.encode(prompts))
            score, verdict = statistics.means([scores, verdicts], prompts)
            scored = f"{score.mean:.4f} [{score.interval[0]:.4f}, {score.interval[1]:.4f}]"
            print(f"| {name} | {prompt_name} | {verdict.count} | {rate(verdict)} | {scored} |")
        columns = args.columns
        sheets.append((f"{name}: empty prompt", empty[:columns]))
        for prompt_name, prompts in (("own prompt", own), ("another prompt", other)):
            conditioning = bench.backbone.encode(prompts[:columns])
            sheets.append((f"{name}: {prompt_name}", bench.pictures(given[:columns], conditioning, bench.scale)))
    draw_sheets(sheets, args)


def draw_prompts(args: argparse.Namespace) -> list[str]:
    """Draw a training prompt for every noise."""
    prompts = grammar.training_prompts()
    places = torch.randint(len(prompts), (args.pairs,), generator=seeding.stream(args.seed, "other prompts"))
    return [prompts[place] for place in places.tolist()]


def empty_prompt_pictures(bench: Bench, noise: Tensor, prompts: Sequence[str]) -> Tensor:
    """Sample with the unconditional embeddings alone; ``prompts`` only lend their shapes."""
    encoded = bench.backbone.encode(prompts)
    empty = replace(
        encoded,
        prompt_embeds=encoded.negative_prompt_embeds,
        pooled_prompt_embeds=encoded.negative_pooled_prompt_embeds,
    )
    return torch.cat([bench.pictures(noise[part], empty[part], 1.0) for part in bench.slices(len(noise))])


def own_prompts(bench: Bench, images: Tensor) -> list[str]:
    """Return, for each picture, the prompt of all 1920 that it shows best by the scorer."""
    prompts = grammar.prompts()
    model = bench.scorer.model
    similarity = model.embed_images(images) @ model.embed_scenes([grammar.parse(prompt) for prompt in prompts]).T
    return [prompts[place] for place in similarity.argmax(1).tolist()]


def draw_sheets(sheets: Sequence[tuple[str, Tensor]], args: argparse.Namespace) -> None:
    """Draw one row of pictures for each sheet."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(sheets), args.columns, figsize=(args.columns, 1.1 * len(sheets)), squeeze=False)
    for row, (title, images) in zip(axes, sheets, strict=True):
        row[0].set_ylabel(title, fontsize=5)
        for axis, image in zip(row, images, strict=True):
            axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
    save(figure, args, "semantics.png")


def save(figure: object, args: argparse.Namespace, name: str) -> None:
    """Write a figure under ``--output``."""
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(folder / name, dpi=200)
    print(f"wrote {folder / name}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["semantics", "sweep", "settings"])
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance-scale", type=float, default=5.5, help="of the sampling")
    parser.add_argument("--prediction-guidance", type=float, default=None, help="of the injected ones; the sampling's")
    parser.add_argument("--positions", type=float, nargs="+", default=[0.0])
    parser.add_argument("--renormalise", choices=["none", "norm", "std"], default="norm")
    parser.add_argument("--num-noises", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--deltas", type=float, nargs="+", default=[-0.7, -0.5, -0.3, -0.1, 0.0, 0.1, 0.3])
    parser.add_argument("--first-seed", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0, help="names the draw of the prompts")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--columns", type=int, default=12, help="noises shown in the picture of `semantics`")
    parser.add_argument("--pipeline", default=None, help="another Shapes build; the default is the shipped one")
    parser.add_argument("--scorer", default=None)
    parser.add_argument("--output", default="outputs/erasure_figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(args)
    with torch.no_grad():
        {"semantics": semantics, "sweep": sweep, "settings": settings}[args.command](bench, args)


if __name__ == "__main__":
    main()
