"""How much of sampling is spent outside the denoiser, and what encoding and decoding add.

    python benchmarks/backbone.py                                   # the built-in Shapes model
    python benchmarks/backbone.py --prompts "a red fox" backbone=sdxl backbone.path=DIR batch_size=8

Arguments after the flags are overrides of ``conf/evaluate.yaml``: ``backbone=``, ``batch_size=``,
``num_inference_steps=``, ``guidance_scale=``. Sampling runs under the family's own step; the denoiser is timed by hooks
around its forward pass (CUDA events on a GPU, so nothing is synchronised for the measurement). Medians over
``--repeats`` after one unmeasured run.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from npnet import seeding
from npnet.instantiate import build
from npnet.paths import config_dir

SHAPES_PROMPT = "a red circle to the left of a blue square"


class Clock:
    """Marks on the GPU's own time line where there is one, on the CPU's elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"

    def mark(self) -> Any:
        """Return a mark for now."""
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        """Return the time between two marks; waits for the GPU."""
        if not self.on_gpu:
            return end - start
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000


class DenoiserTime:
    """The marks around every call of a network, while the ``with`` block lasts."""

    def __init__(self, network: torch.nn.Module, clock: Clock) -> None:
        self.network, self.clock, self.starts, self.ends = network, clock, [], []

    def __enter__(self) -> DenoiserTime:
        self.hooks = (
            self.network.register_forward_pre_hook(lambda *_: self.starts.append(self.clock.mark())),
            self.network.register_forward_hook(lambda *_: self.ends.append(self.clock.mark())),
        )
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def seconds(self) -> float:
        """Return the time inside the network."""
        return sum(self.clock.seconds(*pair) for pair in zip(self.starts, self.ends, strict=True))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Load the backbone and time ``--repeats`` batches."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("evaluate", args.overrides)
    described = build(cfg.backbone, "backbone")
    described.check()
    backbone = described.load()
    clock = Clock(backbone.device)
    prompts = [args.prompts[i % len(args.prompts)] for i in range(cfg.batch_size)]
    noise = seeding.source_noises(range(cfg.batch_size), backbone.latent_shape()).to(backbone.device)
    rows: dict[str, list[float]] = {"encode": [], "sample": [], "denoiser": [], "decode": []}
    with torch.no_grad():
        for repeat in range(args.repeats + 1):
            marks = [clock.mark()]
            conditioning = backbone.encode(prompts)
            marks.append(clock.mark())
            with DenoiserTime(backbone.denoiser.module, clock) as inside:
                latents = backbone.sample(noise, conditioning, cfg.num_inference_steps, cfg.guidance_scale)
                marks.append(clock.mark())
            if "decode" in backbone.capabilities:
                backbone.decode(latents)
            marks.append(clock.mark())
            encode, sample, decode = (clock.seconds(*pair) for pair in itertools.pairwise(marks))
            if repeat:
                for name, value in zip(rows, (encode, sample, inside.seconds(), decode), strict=True):
                    rows[name].append(value)
    shares = [1 - inside / whole for inside, whole in zip(rows["denoiser"], rows["sample"], strict=True)]
    return {
        "backbone": backbone.name,
        "device": torch.cuda.get_device_name() if clock.on_gpu else "CPU",
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "batch": cfg.batch_size,
        "steps": cfg.num_inference_steps,
        "outside": statistics.median(shares),
        "spread": (min(shares), max(shares)),
        **{name: statistics.median(values) for name, values in rows.items()},
    }


def main() -> None:
    """Print one row of Markdown, and what could not be measured here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prompts", nargs="+", default=[SHAPES_PROMPT])
    parser.add_argument("overrides", nargs="*", default=[])
    args = parser.parse_args()
    if not any(override.startswith("batch_size=") for override in args.overrides):
        args.overrides.append("batch_size=8")
    row = measure(args)
    low, high = row["spread"]
    print("| backbone | device | dtype | batch | steps | encode s | sample s | decode s | outside the denoiser |")
    print("|---|---|---|---|---|---|---|---|---|")
    print(
        f"| {row['backbone']} | {row['device']} | {row['dtype']} | {row['batch']} | {row['steps']} "
        f"| {row['encode']:.3f} | {row['sample']:.3f} | {row['decode']:.3f} "
        f"| {row['outside']:.1%} ({low:.1%} to {high:.1%}) |"
    )
    if row["device"] == "CPU":
        print("\ntarget, under 5 % at batch 8 on a GPU: not measured here (no GPU)")


if __name__ == "__main__":
    main()
