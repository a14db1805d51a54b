"""Training at real size: samples a second through the project's own loader, against two plainer ways, in one run.

    python benchmarks/train.py                          # on a CPU: batch 8, a few minutes on a quiet machine
    python benchmarks/train.py --batch 64 --workers 8   # on a machine with a GPU, as published
    python benchmarks/train.py --skip-encoding          # without (b), whose encoders take 3.3 GB
    python benchmarks/train.py --memory                 # peak memory of an epoch, with N and with 10 N shards
    python benchmarks/train.py --loader                 # what the loader delivers, with and without an SVD

128 x 128 latents, Swin-tiny, 77 x 2048 embeddings, AdamW; the pairs are drawn, and lie in shards as collect.py writes
them. ``ours``: the loader's processes read, decode and decompose. (a): the singular value decomposition in the step,
embeddings from the shards. (b): as (a), and CLIP-L and bigG, of random weights at their real sizes, encode each
distinct prompt of the batch in the step. The three take turns, so that a slow moment of the machine hits all; a ratio
is the median over rounds of the other's time over ours, so above 1 ours is faster.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))  # for tests.pairs, which writes the shards

from npnet.data.pairs import Pairs
from npnet.networks import NPNet, svd
from npnet.training.accuracy import predict
from tests import pairs

LENGTH, WIDTH, POOLED, SIDE = 77, 2048, 1280, 128


def write_pairs(folder: Path, count: int) -> str:
    """Write ``count`` pairs of real size, every one with a prompt of its own, into shards of 64."""
    pairs.SIDE, pairs.LENGTH, pairs.WIDTH, pairs.POOLED = SIDE, LENGTH, WIDTH, POOLED
    # one in five is a rejected one
    written = count * 5 // 4 + 5
    sizes = [64] * (written // 64) + [written % 64]
    return str(pairs.write_folder(folder, sizes))


def text_encoders(device: str) -> Callable[[list[str]], tuple[Tensor, Tensor]]:
    """Return SDXL's two text encoders, from their published configurations, with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    common = {"vocab_size": 49408, "max_position_embeddings": 77}
    sizes = (
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
        {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20},
    )
    with torch.device(device):
        small = CLIPTextModel(CLIPTextConfig(**common, **sizes[0], hidden_act="quick_gelu")).eval()
        large = CLIPTextModelWithProjection(
            CLIPTextConfig(**common, **sizes[1], hidden_act="gelu", projection_dim=POOLED)
        ).eval()

    @torch.no_grad()
    def encode(prompts: list[str]) -> tuple[Tensor, Tensor]:
        distinct = list(dict.fromkeys(prompts))
        generator = torch.Generator().manual_seed(len(distinct))
        tokens = torch.randint(0, 49408, (len(distinct), LENGTH), generator=generator).to(device)
        first = small(tokens, output_hidden_states=True).hidden_states[-2]
        second = large(tokens, output_hidden_states=True)
        rows = [distinct.index(prompt) for prompt in prompts]
        embeds = torch.cat([first, second.hidden_states[-2]], dim=-1)
        return embeds[rows], second.text_embeds[rows]

    return encode


class Contender:
    """One way to train: its own network, loader and clock."""

    def __init__(self, folder: str, options: argparse.Namespace, decompose: bool, encode: Any = None) -> None:
        torch.manual_seed(0)
        self.device, self.encode = options.device, encode
        self.network: nn.Module = NPNet(alpha_init=0.1, beta_init=0.1).to(self.device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4)
        self.data = Pairs(
            folder, batch_size=options.batch, validation_share=0, num_workers=options.workers, shuffle_buffer=256
        ).load()
        self.data.check()
        if decompose:
            self.data.decompose = partial(svd.decompose, signs="canonical")
        self.batches = self._forever()
        self.step_seconds: list[float] = []
        self.wait_seconds: list[float] = []

    def _forever(self) -> Iterator[dict[str, Any]]:
        loader = self.data.train_dataloader()
        while True:
            yield from (batch for batch in loader if len(batch["prompts"]) == self.data.asked.batch_size)

    def step(self) -> None:
        """Take one optimiser step."""
        started = time.perf_counter()
        batch = next(self.batches)
        waited = time.perf_counter()
        batch = move_data_to_device(batch, self.device)
        if self.encode is not None:
            batch["prompt_embeds"], batch["pooled_prompt_embeds"] = self.encode(batch["prompts"])
        self.optimizer.zero_grad(set_to_none=True)
        nn.functional.mse_loss(predict(self.network, batch), batch["golden_noise"]).backward()
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.wait_seconds.append(waited - started)
        self.step_seconds.append(time.perf_counter() - started)


def print_loader(options: argparse.Namespace) -> None:
    """Print the samples that one loader process makes in a second of CPU time, in batches of 64, in turns."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        where = write_pairs(Path(folder) / "pairs", 256)
        decompose = partial(svd.decompose, signs="canonical")
        ways: dict[str, tuple[Any, str | None]] = {
            "no SVD": (None, None),
            "SVD in every epoch": (decompose, None),
            "SVD kept, first epoch": (decompose, "fresh"),
            "SVD kept, later epochs": (decompose, f"{folder}/kept"),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(-1, options.rounds):  # the first one fills what is kept
            for name, (function, kept) in ways.items():
                cache = f"{folder}/fresh-{turn}" if kept == "fresh" else kept
                data = Pairs(
                    where,
                    batch_size=64,
                    validation_share=0,
                    num_workers=0,
                    shuffle_buffer=256,
                    decompositions_cache=cache,
                ).load()
                data.check()
                data.decompose = function
                loader = data.train_dataloader()
                started = time.process_time()
                count = sum(len(batch["prompts"]) for batch in loader)
                if turn >= 0:
                    rates[name].append(count / (time.process_time() - started))
    print(f"{options.rounds} rounds, load average {os.getloadavg()[0]:.1f}\n")
    print("| the loader, batch 64 | samples a CPU second | range | on 2 free cores |\n|---|---|---|---|")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:.0f} | {min(found):.0f} to {max(found):.0f} | {2 * middle:.0f} |")


def print_memory() -> None:
    """Print the peak memory of processes that read an epoch of 20 and of 200 shards, a process for each."""
    pairs.SIDE, pairs.LENGTH, pairs.WIDTH, pairs.POOLED = 64, 77, 512, POOLED
    print("| shards | pairs | on disk, MB | peak memory, MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for count in (20, 200):
            where = pairs.write_folder(Path(folder) / str(count), [16] * count)
            size = sum(path.stat().st_size for path in where.glob("*.tar"))
            command = [sys.executable, __file__, "--read", str(where)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"| {count} | {16 * count} | {size / 1e6:.0f} | {done.stdout.strip()} |", flush=True)
            shutil.rmtree(where)


def read_epoch(folder: str) -> None:
    """Read an epoch, and print this process's peak memory in MB."""
    data = Pairs(folder, batch_size=16, shuffle_buffer=64).load()
    data.check()
    for _ in data.train_dataloader():
        pass
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device)
    parser.add_argument("--batch", type=int, default=64 if device == "cuda" else 8)
    parser.add_argument("--workers", type=int, default=8 if device == "cuda" else 1, help="loader processes")
    parser.add_argument("--rounds", type=int, default=20 if device == "cuda" else 3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-encoding", action="store_true", help="leave out (b)")
    parser.add_argument("--memory", action="store_true", help="the peak memory of reading, instead")
    parser.add_argument("--loader", action="store_true", help="what the loader delivers, instead")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read or options.memory:
        read_epoch(options.read) if options.read else print_memory()
        return
    if options.loader:
        print_loader(options)
        return
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        where = write_pairs(Path(folder) / "pairs", options.batch * (options.rounds + 3))
        contenders = {
            "ours": Contender(where, options, decompose=True),
            "(a) SVD in the step": Contender(where, options, decompose=False),
        }
        if not options.skip_encoding:
            encode = text_encoders(options.device)
            contenders["(b) and encoding"] = Contender(where, options, decompose=False, encode=encode)
        for contender in contenders.values():
            contender.step()  # starts the loader's processes, warms up
            contender.step_seconds, contender.wait_seconds = [], []
        for turn in range(options.rounds):
            names = list(contenders)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                contenders[name].step()
        ours = contenders["ours"]
        taking_turns = list(ours.step_seconds)
        for _ in range(2 * options.workers + options.rounds):  # alone, with what the loader had ready used up first
            ours.step()
        alone = slice(-options.rounds, None)
        wait = sum(ours.wait_seconds[alone]) / sum(ours.step_seconds[alone])
        ours.step_seconds = taking_turns
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{options.device}, batch {options.batch}, {options.workers} loader processes, {options.threads} threads, ")
    print(f"{options.rounds} rounds, torch {torch.__version__}, load average {load}\n")
    print("| | step, s | samples/s | other / ours | range |\n|---|---|---|---|---|")
    for name, contender in contenders.items():
        seconds = statistics.median(contender.step_seconds)
        ratios = sorted(theirs / mine for theirs, mine in zip(contender.step_seconds, taking_turns, strict=True))
        spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(
            f"| {name} | {seconds:.2f} | {options.batch / seconds:.3g} | {statistics.median(ratios):.2f}x | {spread} |"
        )
    print(f"\nOurs alone waits for the loader {100 * wait:.2f} % of its time ({options.rounds} steps).")


if __name__ == "__main__":
    main()
