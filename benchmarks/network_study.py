"""The tables of docs/network_study.md that train.py and evaluate.py do not print: errors on held-out pairs, and cost.

    python benchmarks/network_study.py errors swin=DIR,DIR,DIR unet=DIR,DIR,DIR    # networks that train.py left
    OMP_NUM_THREADS=1 python benchmarks/network_study.py cost
    python benchmarks/network_study.py plot outputs/network_study/evaluate/results.json docs/network_study.png
    python benchmarks/network_study.py pooled outputs/network_study/two_evaluate two_unet swin

``errors``: held-out prompts and the seeds of evaluate.py experiment=network_study_evaluate, on the built-in model. The
target is one re-denoising at guidance 3, made here in float32. A change of the noise is split into its mean for a
prompt and what depends on the noise; how much of each a network recovers is 1 - (squared error of that part) / (its
square).

``cost``: the Swin and the U-Net by turns in one process, at Shapes' size and at SDXL's, with random weights.

``plot``: what evaluate.py experiment=network_study_evaluate found, as a picture.

``pooled``: one kind of network against another, each picture's comparison averaged over the training seeds before the
prompts are resampled; from the chunks that an evaluation leaves.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from npnet.backbones.runtime.loaded import LoadedBackbone
from npnet.data.seeds import Seeds, assign_seeds
from npnet.fields import checked
from npnet.instantiate import build
from npnet.metrics import statistics as intervals
from npnet.networks import NPNet
from npnet.noise.runtime.inversion import redenoise
from npnet.paths import config_dir
from npnet.records import Conditioning
from npnet.seeding import source_noises

BATCH = 64
SIZES = {"Shapes, 16 x 16": ("shapes", "shapes_unet"), "SDXL, 128 x 128": ("npnet_spatial", "npnet_unet")}
"""The Swin's and the U-Net's configuration at each size."""


class Pairs:
    """Source noise, its conditioning and the change that one re-denoising makes, for ``per_prompt`` seeds a prompt."""

    def __init__(self, num_prompts: int | None, per_prompt: int) -> None:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose("evaluate", ["experiment=demo_evaluate"])
        self.backbone: LoadedBackbone = build(cfg.backbone, "backbone").load()
        prompts = build(cfg.prompts, "prompts", limit=num_prompts).read()
        samples = assign_seeds(prompts, checked(Seeds, {**cfg.seeds, "per_prompt": per_prompt}, "seeds"), cfg.seed)
        self.prompts = [sample.prompt for sample in samples]
        self.noise = source_noises([sample.seed for sample in samples], self.backbone.latent_shape())
        self.conditioning = self.backbone.encode(self.prompts)
        settings = {
            "num_inference_steps": cfg.num_inference_steps,
            "guidance_scale": cfg.noise.inversion.guidance_scale,
            "inversion_guidance_scale": cfg.noise.inversion.inversion_guidance_scale,
        }
        self.change = self.map(lambda noise, given: redenoise(self.backbone, noise, given, **settings)[0]) - self.noise

    def map(self, function: Callable[[Tensor, Conditioning], Tensor]) -> Tensor:
        """Apply ``function`` batch by batch."""
        starts = range(0, len(self.noise), BATCH)
        return torch.cat([function(self.noise[a : a + BATCH], self.conditioning[a : a + BATCH]) for a in starts])

    def predicted_change(self, path: str) -> Tensor:
        """Return what the network of a folder adds to the noise."""
        network = NPNet.from_pretrained(path)

        def golden(noise: Tensor, given: Conditioning) -> Tensor:
            return network(noise, given.prompt_embeds, given.pooled_prompt_embeds, given.prompt_mask)

        return self.map(golden) - self.noise


def errors(networks: dict[str, list[str]]) -> None:
    """Print the error of every network, the paired difference of each seed, and the shares recovered."""
    pairs, many = Pairs(None, 4), Pairs(32, 24)
    count = f"{len(set(pairs.prompts))} prompts, {len(pairs.prompts)} pairs"
    unchanged = means(pairs, torch.zeros_like(pairs.change))[1]
    print(f"\nmean squared error on held-out pairs, {count}; leaving the noise as it is: {unchanged}\n")
    print("| network | seed | mean squared error | against the first kind, same seed | prompt part | noise part |")
    print("|---|---|---|---|---|---|")
    reference: list[np.ndarray] = []
    for kind, paths in networks.items():
        for seed, path in enumerate(paths):
            rows, mean = means(pairs, pairs.predicted_change(path))
            against = "-"
            if len(reference) < len(next(iter(networks.values()))):
                reference.append(rows)
            else:
                difference = intervals.compare(rows, reference[seed], pairs.prompts)[0]
                low, high = difference.difference_interval
                against = f"{difference.mean_difference:+.4f} [{low:+.4f}, {high:+.4f}]"
            shares = recovered(many.predicted_change(path), many.change, 24)
            print(f"| {kind} | {seed} | {mean} | {against} | {shares[0]:.1%} | {shares[1]:.1%} |", flush=True)


def means(pairs: Pairs, predicted: Tensor) -> tuple[np.ndarray, str]:
    """Return the squared error of each pair, and their mean with its interval over prompts."""
    rows = (predicted - pairs.change).square().mean((1, 2, 3)).numpy()
    result = intervals.means(rows, pairs.prompts)[0]
    return rows, f"{result.mean:.4f} [{result.interval[0]:.4f}, {result.interval[1]:.4f}]"


def recovered(predicted: Tensor, change: Tensor, per_prompt: int) -> list[float]:
    """Return the shares recovered of the mean for a prompt, and of what depends on the noise."""
    groups = [part.flatten(1).unflatten(0, (-1, per_prompt)) for part in (predicted, change)]
    averages = [group.mean(1, keepdim=True) for group in groups]
    rest = [group - average for group, average in zip(groups, averages, strict=True)]
    return [1 - (p - t).square().mean().item() / t.square().mean().item() for p, t in (averages, rest)]


def cost(rounds: int) -> None:
    """Print parameters and the forward's CPU time of both networks at both sizes."""
    print("\n| size | network | parameters | forward, batch 1, ms | forward, batch 64, ms |\n|---|---|---|---|---|")
    for size, names in SIZES.items():
        networks = {name: configured(name) for name in names}
        one, many = (milliseconds(networks, batch, rounds) for batch in (1, BATCH))
        for name, network in networks.items():
            number = sum(parameter.numel() for parameter in network.parameters())
            print(f"| {size} | {name} | {number:,} | {one[name]:.1f} | {many[name]:.0f} |", flush=True)


def configured(name: str) -> NPNet:
    """Build a network of conf/network."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return build(compose(overrides=[f"+network={name}"]).network, "network").eval()


def milliseconds(networks: dict[str, NPNet], batch: int, rounds: int) -> dict[str, float]:
    """Return the median CPU time of a forward of each, taken by turns."""
    config = next(iter(networks.values())).config
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    inputs = (
        draw(config["latent_channels"], *config["latent_size"]),
        draw(config["prompt_length"], config["prompt_embed_dim"]),
        draw(config["pooled_embed_dim"]),
    )
    large = batch > 1 and inputs[0].numel() > 1e6
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(2 if large else rounds):
        for name, network in networks.items():
            start = time.process_time()
            network(*inputs)
            times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(taken) for name, taken in times.items()}


def plot(results: str, picture: str) -> None:
    """Draw each comparison of ``results.json``, its gain by the judge and its winning rate by the scorer."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    versus = {name: method["versus"] for name, method in json.loads(Path(results).read_text())["methods"].items()}
    pairs = [(kind, other) for other in ("standard", "inversion") for kind in ("swin", "unet")]
    rows = [(f"{kind} against {other}", versus[kind][other]) for kind, other in (*pairs, ("unet", "swin"))]
    figure, axes = pyplot.subplots(1, 2, sharey=True, figsize=(9, 2.6), layout="constrained")
    panels = [
        ("shapes_judge", "mean_difference", "difference_interval", "judge, gain in points", 0),
        ("shapes_scorer", "winning_rate", "interval", "scorer, winning rate, %", 50),
    ]
    for axis, (metric, value, interval, label, nothing) in zip(axes, panels, strict=True):
        for place, (name, found) in enumerate(rows):
            middle, (low, high) = 100 * found[metric][value], (100 * end for end in found[metric][interval])
            colour = "#0072b2" if name.startswith("swin") else "#d55e00"
            axis.errorbar(middle, -place, xerr=[[middle - low], [high - middle]], fmt="o", color=colour, capsize=3)
        axis.axvline(nothing, color="#7f7f7f", linewidth=1)
        axis.set_xlabel(label)
    axes[0].set_yticks([-place for place in range(len(rows))], [name for name, _ in rows])
    figure.savefig(picture, dpi=110)


def pooled(folder: str, kind: str, other: str) -> None:
    """Print how networks ``kind-0``, ``kind-1``, ... compare with ``other-0``, ..., seed by seed and pooled."""
    prompts: list[str] = []
    scores: dict[tuple[str, str], list[float]] = {}
    for path in sorted(Path(folder, "chunks").glob("*.json")):
        chunk = json.loads(path.read_text())
        prompts += [sample.split("-")[0] for sample in chunk["samples"]]
        for label, method in chunk["methods"].items():
            for metric, values in method["scores"].items():
                scores.setdefault((label, metric), []).extend(values)
    of = {key: np.array(values, dtype=float) for key, values in scores.items()}
    seeds = [label.removeprefix(f"{kind}-") for label, _ in of if label.startswith(f"{kind}-")]
    seeds = sorted(set(seeds) & {label.removeprefix(f"{other}-") for label, _ in of})
    rows: dict[str, Callable[[str], np.ndarray]] = {
        "judge, gain": lambda i: of[f"{kind}-{i}", "shapes_judge"] - of[f"{other}-{i}", "shapes_judge"],
        "scorer, gain": lambda i: of[f"{kind}-{i}", "shapes_scorer"] - of[f"{other}-{i}", "shapes_scorer"],
        "scorer, winning rate": lambda i: of[f"{kind}-{i}", "shapes_scorer"] > of[f"{other}-{i}", "shapes_scorer"],
        "scorer, winning rate against standard, gain": lambda i: (
            1.0 * (of[f"{kind}-{i}", "shapes_scorer"] > of["standard", "shapes_scorer"])
            - (of[f"{other}-{i}", "shapes_scorer"] > of["standard", "shapes_scorer"])
        ),
    }
    print(f"{kind} against {other}, x 100, n = {len(prompts)} pairs of {len(set(prompts))} prompts, seeds {seeds}")
    for name, values in rows.items():
        each = [1.0 * values(seed) for seed in seeds]
        for what, row in (("pooled", np.mean(each, 0)), *zip(seeds, each, strict=True)):
            (mean,) = intervals.means(row[None], prompts)
            low, high = (100 * bound for bound in mean.interval)
            print(f"| {name} | {what} | {100 * mean.mean:+.2f} [{low:+.2f}, {high:+.2f}] |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("errors", "cost", "plot", "pooled"))
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="as in the examples")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with torch.no_grad():
        if options.what == "cost":
            cost(options.rounds)
        elif options.what == "plot":
            plot(*options.arguments)
        elif options.what == "pooled":
            pooled(*options.arguments)
        else:
            named = (entry.split("=", 1) for entry in options.arguments)
            errors({kind: folders.split(",") for kind, folders in named})


if __name__ == "__main__":
    main()
