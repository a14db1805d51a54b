"""How many pairs collect.py makes, against diffusers' own pipeline: called prompt by prompt, and in batches as ours.

    OMP_NUM_THREADS=1 python benchmarks/collect.py            # under 6 minutes on 2 cores
    python benchmarks/collect.py --channels 320 --cells 128   # SDXL's own size with random weights, for a GPU

All make the same pairs with the same model and the same metric, and their golden noises and scores are compared. The
straightforward way: the pipeline for the source pictures, a plain loop for the step there and back (both branches each
time, as the published script runs them), the pipeline again for the golden pictures, and the metric for the pictures:
4 N + 4 forwards at N steps, where ours takes 4 N + 1. The published script does so prompt by prompt; one who writes it
anew would do so in batches. Ours is the job that collect.py runs, its shards written. Rounds alternate; figures are
medians with their range, of CPU time (on a GPU: of the wall clock).

Models: the built-in Shapes, and a random one with SDXL's layers at ``--channels`` (SDXL: 320) and ``--cells`` (128).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# this file has the name of a package that it needs, and its folder would come first
sys.path.insert(0, str(Path(__file__).parents[1]))

import diffusers
import torch
from hydra import compose, initialize_config_dir
from straightforward import LETTERS, Pair, straightforward, write_model

from collect.collection import CollectJob
from collect.plan import CollectionPlan, make_plan
from npnet.data.shards import read_shard, shard_path
from npnet.engine.pairs import PairMaker
from npnet.paths import config_dir
from npnet.work.job import run_job
from npnet.work.numerics import Numerics
from npnet.work.torch_settings import torch_settings

Clock = Callable[[], float]


def compare(label: str, plan_of: Callable[..., CollectionPlan], rounds: int, clock: Clock) -> None:
    """Note pairs a second of both ways, where ours spends its time, and how far their pairs lie apart."""
    gpu = torch.cuda.is_available()
    job = CollectJob(plan_of())
    job.setup(0, "cuda:0" if gpu else "cpu")

    def run() -> None:
        job.run(0, lambda advance: None)

    def watched_run() -> dict[str, float]:
        with stopwatches(job.maker, clock) as spent:
            run()
        return spent

    size = job.plan.settings.batch_size
    calls: dict[str, Callable[[], Any]] = {
        "plain": lambda: straightforward(job, 0),
        "batched": lambda: straightforward(job, 0, size),
        "ours": run if gpu else watched_run,
    }
    times: dict[str, list[float]] = {way: [] for way in calls}
    shares: list[list[float]] = []
    with torch_settings(Numerics(), job.maker.backbone.device.type):
        apart = [largest_difference(job, calls[way]()) for way in ("plain", "batched")]  # a first round, not measured
        for turn in range(rounds):
            for way in [*calls] if turn % 2 == 0 else [*calls][::-1]:
                busy, spent = timed(clock, calls[way])
                times[way].append(busy)
                if way == "ours" and not gpu:
                    shares.append(divided(spent, busy))
        if gpu:  # a watch waits for the GPU, so it would disturb the measurement
            job.maker.pipeline.overlaps = False
            busy, spent = timed(clock, watched_run)
            shares.append(divided(spent, busy))
    count = job.num_samples(0)
    cells = [f"{count / statistics.median(times['ours']):.3g}"]
    for way in ("plain", "batched"):
        cells.append(f"{count / statistics.median(times[way]):.3g}")
        cells.append(spread([a / b for a, b in zip(times[way], times["ours"], strict=True)], "{:.2f}x"))
    forwards = read_shard(shard_path(job.plan.settings.output_dir, 0)).sidecar["forwards_per_pair"]
    parts = " | ".join(spread(column, "{:.1%}") for column in zip(*shares, strict=True))
    FOUND["speed"].append(f"| {label} | {count} | {size} | {forwards:.0f} | {' | '.join(cells)} |")
    FOUND["shares"].append(f"| {label} | {parts} |")
    noises, scores = (max(column) for column in zip(*apart, strict=True))
    FOUND["equal"].append(f"{label}: golden noises to {noises:.1e}, scores to {scores:.1e}")


def largest_difference(job: CollectJob, made: list[Pair]) -> tuple[float, float]:
    """Return how far the two ways' golden noises and scores lie apart."""
    samples, maker = job.plan.chunk(0), job.maker
    parts = list(maker.batches(samples, maker.encode(samples), job.plan.settings.batch_size))
    ours = [
        (golden, *scores)
        for part in parts
        for golden, row in zip(part.golden_noise, part.scores, strict=True)
        for scores in row.values()
    ]
    noises = max(float((a[0] - b[0]).abs().max()) for a, b in zip(ours, made, strict=True))
    return noises, max(abs(a[side] - b[side]) for a, b in zip(ours, made, strict=True) for side in (1, 2))


def timed(clock: Clock, function: Callable[[], Any]) -> tuple[float, Any]:
    """Return (seconds by the clock, result) of a call."""
    start = clock()
    result = function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start, result


@contextmanager
def stopwatches(maker: PairMaker, clock: Clock) -> Iterator[dict[str, float]]:
    """Sum the time in each network while the block lasts; on a GPU each call is waited for."""
    (metric,) = maker.scorers.values()
    calls = {
        "denoiser": (maker.backbone.denoiser.module, "forward"),
        "text": (maker.backbone.text_encoder, "embed"),
        "decoding": (maker.backbone.pipeline.vae, "decode"),
        "scoring": (metric, "score"),
    }
    spent = dict.fromkeys(calls, 0.0)
    originals = {name: getattr(owner, method) for name, (owner, method) in calls.items()}

    def watch(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seconds, result = timed(clock, lambda: originals[name](*args, **kwargs))
            spent[name] += seconds
            return result

        return call

    for name, (owner, method) in calls.items():
        setattr(owner, method, watch(name))
    try:
        yield spent
    finally:
        for name, (owner, method) in calls.items():
            setattr(owner, method, originals[name])


def divided(spent: dict[str, float], whole: float) -> list[float]:
    """Return the shares of the denoiser, of the other networks, and of the rest."""
    networks = sum(spent.values())
    return [spent["denoiser"] / whole, (networks - spent["denoiser"]) / whole, 1 - networks / whole]


def spread(values: Any, form: str) -> str:
    """Return the median and the range."""
    values = sorted(values)
    return f"{form.format(statistics.median(values))} ({form.format(values[0])} to {form.format(values[-1])})"


class TimedJob(CollectJob):
    """Notes when every worker was ready, and what each chunk took."""

    def setup(self, worker: int, device: str) -> None:
        """Load, then wait for the other workers."""
        super().setup(worker, device)
        super().run(self.num_chunks - 1 - worker, lambda advance: None)  # unmeasured: the first call is slower
        marks = self.plan.settings.output_dir.parent
        (marks / f"ready-{worker}").write_text("")
        while len(list(marks.glob("ready-*"))) < self.plan.settings.workers:
            time.sleep(0.01)
        self.began = time.monotonic()

    def run(self, chunk: int, advance: Any) -> None:
        """Compute, and write down the times."""
        busy = time.process_time()
        super().run(chunk, advance)
        times = {"began": self.began, "ended": time.monotonic(), "busy": time.process_time() - busy}
        (self.plan.settings.output_dir.parent / f"times-{chunk}").write_text(json.dumps(times))


def workers_ratio(label: str, plan_of: Callable[..., CollectionPlan], rounds: int) -> None:
    """Print pairs a second of two workers with a thread each against one."""
    rates: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for turn in range(rounds):
        for count in (1, 2) if turn % 2 == 0 else (2, 1):
            with tempfile.TemporaryDirectory() as folder:
                plan = plan_of(f"workers={count}", f"output_dir={folder}/shards")
                run_job(
                    TimedJob(plan),
                    plan.settings.crew(),
                    title=f"{count} workers",
                    describe=lambda _: "",
                )
                times = [json.loads(path.read_text()) for path in Path(folder).glob("times-*")]
            wall = max(t["ended"] for t in times) - min(t["began"] for t in times)
            busy = sum(t["busy"] for t in times) / count
            rates[count].append((len(plan.samples) / wall, len(plan.samples) / busy))
    wall, busy = ([two[i] / one[i] for one, two in zip(rates[1], rates[2], strict=True)] for i in (0, 1))
    one, two = (f"{statistics.median(rate for rate, _ in rates[count]):.3g}" for count in (1, 2))
    FOUND["workers"].append(f"| {label} | {one} | {two} | {spread(wall, '{:.2f}x')} | {spread(busy, '{:.2f}x')} |")


FOUND: dict[str, list[str]] = {"speed": [], "shares": [], "equal": [], "workers": []}


def main() -> None:
    """Print the section."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--channels", type=int, default=320 if gpu else 64, help="of the U-Net's first level")
    parser.add_argument("--cells", type=int, default=128 if gpu else 32, help="side of the latents")
    parser.add_argument("--pairs", type=int, nargs=2, default=(32, 2), help="of a round: Shapes, and the other model")
    parser.add_argument("--only", choices=["shapes", "sdxl", "workers"], help="one part of it")
    args = parser.parse_args()
    clock = time.perf_counter if gpu else time.process_time
    with tempfile.TemporaryDirectory() as name:
        folder, numbers = Path(name), itertools.count()
        write_model(folder, args.channels)

        def planner(*base: str) -> Callable[..., CollectionPlan]:
            def plan_of(*overrides: str) -> CollectionPlan:
                out = f"output_dir={folder}/out-{next(numbers)}"
                with initialize_config_dir(str(config_dir()), version_base="1.3"):
                    plan = make_plan(compose("collect", [out, *base, *overrides]))
                plan.settings.output_dir.mkdir()
                return plan

            return plan_of

        side, dtype = 8 * args.cells, "float16" if gpu else "float32"
        few, fewer = args.pairs
        shapes = planner(f"prompts.limit={few}", f"chunk_size={few}")
        sdxl = planner(
            *("backbone=sdxl", f"backbone.path={folder}/model", "backbone.variant=null", f"backbone.dtype={dtype}"),
            *(f"backbone.height={side}", f"backbone.width={side}", f"batch_size={min(fewer, 8)}"),
            *("metric=[clipscore]", f"metric.clipscore.path={folder}/clip"),
            *("prompts=list", f"prompts.list=[{','.join(f'a red fox {LETTERS[i]}' for i in range(fewer))}]"),
            f"chunk_size={fewer}",
        )
        large = f"SDXL's layers, {args.channels} channels, {args.cells} x {args.cells}"
        if args.only in (None, "shapes"):
            compare("Shapes", shapes, args.rounds, clock)
        if args.only in (None, "sdxl"):
            compare(large, sdxl, args.rounds, clock)
        if not gpu and args.only in (None, "workers"):
            workers_ratio("Shapes", planner(f"prompts.limit={4 * few}", f"chunk_size={few // 2}"), args.rounds)
    where = torch.cuda.get_device_name() if gpu else "CPU, one thread"
    unit = "s" if gpu else "CPU s"
    print(f"torch {torch.__version__}, diffusers {diffusers.__version__}, {where}; {args.rounds} alternating rounds.\n")
    heads = f"ours, pairs/{unit} | prompt by prompt | ours over it | in batches | ours over it"
    print(f"| model | pairs | batch | forwards | {heads} |")
    print("|---|---|---|---|---|---|---|---|---|", *FOUND["speed"], sep="\n")
    print("\n| ours, share of time in | the denoiser | text, decoding, scoring | outside all networks |")
    print("|---|---|---|---|", *FOUND["shares"], sep="\n")
    if FOUND["workers"]:
        print("\n| a thread each | 1 worker, pairs/s | 2 workers | ratio | ratio, were every core free |")
        print("|---|---|---|---|---|", *FOUND["workers"], sep="\n")
    print(f"\nThe ways agree. {'; '.join(FOUND['equal'])}.")
    if not gpu:
        print("GPU: not measured here, there is none.")


if __name__ == "__main__":
    main()
