"""NPNet's cost: ours against a plain reading of the published network, side by side in one run, split by part.

    python benchmarks/network.py                          # the two CPU tables, a few minutes on 2 cores
    python benchmarks/network.py --batches 1 4 --train-batches 64 --device cuda

The plain reading is built from timm, diffusers' AdaGroupNorm and ``torch.linalg.svd``, the way the published classes
read. Both hold the same weights and get the same input; their outputs are compared before anything is timed. Rounds
alternate between the two so that a slow moment of the machine hits both; a ratio is the median over rounds of
plain / ours, so above 1 ours is faster.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import diffusers
import timm
import torch
from diffusers.models.normalization import AdaGroupNorm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from npnet.networks import NPNet


class PlainAttention(nn.Module):
    """Self-attention over tokens, every token projected."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(256, 768, bias=False)
        self.proj = nn.Linear(256, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, 256, 256) to the same shape."""
        batch, length, width = tokens.shape
        q, k, v = self.qkv(tokens).reshape(batch, length, 3, 8, 32).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width))


class Plain(nn.Module):
    """A plain reading of the published network, for 4 x 128 x 128 latents and 77 x 2048 embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.text = AdaGroupNorm(77 * 2048, 4, num_groups=1, eps=1e-6)
        self.mlp1 = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 256))
        self.mlp2 = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 256))
        self.mlp3 = nn.Linear(256, 256)
        self.attention = PlainAttention()
        self.mlp4 = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256))
        self.swin = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False)
        self.downconv, self.upconv = nn.Conv2d(4, 3, 1), nn.Conv2d(7, 4, 1)
        self.alpha, self.beta = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def copy(self, ours: NPNet) -> None:
        """Take the weights of ours."""
        sources = {
            self.text: ours.text.norm,
            self.mlp1: ours.singular_values.left,
            self.mlp2: ours.singular_values.right,
            self.mlp3: ours.singular_values.spectrum,
            self.mlp4: ours.singular_values.head,
            self.attention: ours.singular_values.attention,
            self.downconv: ours.residual.to_trunk,
            self.upconv: ours.residual.to_latents,
        }
        for target, source in sources.items():
            target.load_state_dict(source.state_dict())
        self.swin.load_state_dict(ours.residual.trunk.state_dict(), strict=False)
        self.alpha.data.copy_(ours.alpha.data)
        self.beta.data.copy_(ours.beta.data)

    def svd_branch(self, noise: Tensor) -> Tensor:
        """Equation 6."""
        tiles = noise.reshape(-1, 2, 2, 128, 128).permute(0, 1, 3, 2, 4).reshape(-1, 256, 256)
        U, S, Vh = torch.linalg.svd(tiles)
        tokens = self.mlp1(U.transpose(1, 2)) + self.mlp2(Vh) + self.mlp3(S).unsqueeze(1)
        spectrum = self.mlp4(self.attention(tokens).mean(1)) + S
        rebuilt = U @ torch.diag_embed(spectrum) @ Vh
        return rebuilt.reshape(-1, 2, 128, 2, 128).permute(0, 1, 3, 2, 4).reshape(-1, 4, 128, 128)

    def swin_branch(self, noise: Tensor) -> Tensor:
        """Equation 7."""
        features = self.swin.forward_features(self.downconv(F.interpolate(noise, (224, 224))))
        return self.upconv(F.interpolate(features, (128, 128)))

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Equation 9."""
        text = self.text(noise, prompt_embeds.reshape(len(noise), -1))
        gate = 2 * torch.sigmoid(self.alpha) - 1
        return self.svd_branch(noise) + gate * text + self.beta * self.swin_branch(noise + text)


def seconds(function: Callable[[], object], device: str) -> float:
    """Time one call; on a CPU by the process's CPU time, which other jobs disturb less than the wall clock."""
    if device == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(label: str, plain: Callable[[], object], ours: Callable[[], object], rounds: int, device: str) -> None:
    """Print the medians of both and the median ratio of alternating rounds."""
    plain(), ours()
    times = []
    for turn in range(rounds):
        pair = (plain, ours) if turn % 2 == 0 else (ours, plain)
        first, second = (seconds(function, device) for function in pair)
        times.append((first, second) if turn % 2 == 0 else (second, first))
    ratios = sorted(a / b for a, b in times)
    plain_ms, ours_ms = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    ratio = f"{statistics.median(ratios):.2f}x"
    print(f"| {label} | {plain_ms:.1f} | {ours_ms:.1f} | {ratio} | {spread} |", flush=True)


def pair(device: str) -> tuple[Plain, NPNet]:
    """Build both with the same weights, gates ajar."""
    torch.manual_seed(0)
    ours = NPNet(singular_vector_signs="lapack", alpha_init=0.1, beta_init=0.1).eval().to(device)
    plain = Plain().eval().to(device)
    plain.copy(ours)
    return plain, ours


def inputs(batch: int, device: str) -> tuple[Tensor, Tensor]:
    """Draw noise and prompt embeddings."""
    generator = torch.Generator().manual_seed(batch)
    noise = torch.randn(batch, 4, 128, 128, generator=generator)
    return noise.to(device), torch.randn(batch, 77, 2048, generator=generator).to(device)


def step(network: nn.Module, call: Callable[[], Tensor], target: Tensor) -> Callable[[], None]:
    """Return forward, loss and backward as one call."""

    def run() -> None:
        network.zero_grad(set_to_none=True)
        F.mse_loss(call(), target).backward()

    return run


def inference(batch: int, rounds: int, device: str) -> float:
    """Print the forward at one batch size, whole and by part; return the largest difference of the two outputs."""
    plain, ours = pair(device)
    noise, embeds = inputs(batch, device)
    head = f"forward, batch {batch}"
    with torch.no_grad():
        difference = (plain(noise, embeds) - ours(noise, embeds)).abs().max().item()
        parts = ours.decompose(noise)
        compare(f"{head}: whole", lambda: plain(noise, embeds), lambda: ours(noise, embeds), rounds, device)
        text, branch, trunk = ours.text.norm, ours.singular_values, ours.residual
        flat = embeds.flatten(1)
        compare(f"{head}: text term", lambda: plain.text(noise, flat), lambda: text(noise, flat), rounds, device)
        compare(
            f"{head}: SVD branch",
            lambda: plain.svd_branch(noise),
            lambda: noise + branch(ours.decompose(noise), 4),
            rounds,
            device,
        )
        compare(
            f"{head}: SVD branch, decomposition given",
            lambda: plain.svd_branch(noise),
            lambda: noise + branch(parts, 4),
            rounds,
            device,
        )
        compare(f"{head}: Swin branch", lambda: plain.swin_branch(noise), lambda: trunk(noise), rounds, device)
    return difference


def training(batch: int, rounds: int, device: str) -> None:
    """Print forward + backward: plain with its SVD in the step, ours with the loader's decomposition."""
    plain, ours = (network.train() for network in pair(device))
    noise, embeds = inputs(batch, device)
    parts = ours.decompose(noise)
    plain_step = step(plain, lambda: plain(noise, embeds), noise)
    given = step(ours, lambda: ours(noise, embeds, decomposition=parts), noise)
    inside = step(ours, lambda: ours(noise, embeds), noise)
    compare(f"training step, batch {batch}: decomposition given", plain_step, given, rounds, device)
    compare(f"training step, batch {batch}: SVD in the step", plain_step, inside, rounds, device)


def memory(which: str, batch: int, device: str) -> None:
    """Print the memory one forward takes above weights and inputs, in MB; run in a process of its own."""
    network = pair(device)[0 if which == "plain" else 1]
    noise, embeds = inputs(batch, device)
    with torch.no_grad():
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            network(noise, embeds)
            print((torch.cuda.max_memory_allocated() - before) / 1e6)
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again from here
            before = resident("VmRSS")
            network(noise, embeds)
            print((resident("VmHWM") - before) / 1e6)


def resident(field: str) -> int:
    """Return a size of this process in bytes, ``VmRSS`` now or ``VmHWM`` at its peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def derived() -> None:
    """Print what bounds a GPU, counted here: the arithmetic beside SDXL's, and the peak of a half-precision forward.

    Bytes are those that the same forward allocates on the CPU in bfloat16, which is as wide as float16: a GPU's kernels
    may want more or less room of their own. Arithmetic is that of ``torch.utils.flop_counter``; it leaves out the SVD,
    for which 22 n^3 of each 256 x 256 matrix is added.
    """
    network, (noise, embeds) = pair("cpu")[1], inputs(1, "cpu")
    unet_flops, parameters = sdxl_flops()
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            network(noise, embeds)
        ours = counter.get_total_flops() + 2 * 22 * 256**3
        network, noise, embeds = network.bfloat16(), noise.bfloat16(), embeds.bfloat16()
        network(noise, embeds)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            network(noise, embeds)
    events = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    peak = max(itertools.accumulate(change for _, change in changes))
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    lines = [
        f"\nDerived, not measured, for a GPU: a forward is {ours / 1e9:.1f} GFLOP. One of SDXL's U-Net "
        f"({parameters / 1e9:.2f} G weights) for a",
        f"picture of 1024 x 1024 is {unet_flops / 1e12:.2f} TFLOP, so the network is {ours / unet_flops / 100:.4%} of "
        f"the {unet_flops / 1e10:.0f} TFLOP of 50 guided steps.",
        f"In half precision a forward at batch 1 allocates at most {peak / 1e6:.0f} MB above {weights / 1e6:.0f} MB of "
        "weights (target: 150 MB).",
    ]
    print("\n".join(lines))


def sdxl_flops() -> tuple[int, int]:
    """Return the arithmetic of one forward of SDXL's U-Net for one picture of 1024 x 1024, and its weights."""
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            sample_size=128,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(320, 640, 1280),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        told = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
        latents, embeds, timestep = torch.empty(1, 4, 128, 128), torch.empty(1, 77, 2048), torch.empty(())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        unet(latents, timestep, embeds, added_cond_kwargs=told)
    return counter.get_total_flops(), sum(p.numel() for p in unet.parameters())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8], help="batch sizes of the forward")
    sizes = "batch sizes of the training step; 64 is the paper's"
    parser.add_argument("--train-batches", type=int, nargs="+", default=[1, 4, 8], help=sizes)
    parser.add_argument("--rounds", type=int, default=9, help="alternating rounds of each forward")
    parser.add_argument("--train-rounds", type=int, default=5, help="alternating rounds of each training step")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--derived", action="store_true", help="only what is counted, not timed")
    parser.add_argument("--memory", choices=["plain", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = options.device
    if options.memory:
        memory(options.memory, options.batches[0], device)
        return
    where = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"torch {torch.__version__}, timm {timm.__version__}, {where}\n")
    if not torch.cuda.is_available():
        print("GPU: not measured here, there is none.\n")
    if options.derived:
        derived()
        return
    print("| | plain, ms | ours, ms | plain / ours | range |\n|---|---|---|---|---|")
    difference = max(inference(batch, options.rounds, device) for batch in options.batches)
    for batch in options.train_batches:
        training(batch, options.train_rounds, device)
    print(f"\nThe two networks' outputs differ by at most {difference:.1e}.")
    print("\n| peak memory of a forward above weights and input, MB | plain | ours |\n|---|---|---|")
    for batch in options.batches:
        command = [sys.executable, __file__, "--batches", str(batch), "--device", device, "--memory"]
        plain, ours = (
            statistics.median(float(subprocess.check_output([*command, which])) for _ in range(3))
            for which in ("plain", "ours")
        )
        print(f"| batch {batch} | {plain:.0f} | {ours:.0f} |", flush=True)
    derived()


if __name__ == "__main__":
    main()
