"""What TF32 and bfloat16 products do to pairs, computed on the CPU by rounding what a GPU would round.

    OMP_NUM_THREADS=1 python benchmarks/tf32.py --pairs 128     # on Shapes, two minutes

A GPU rounds the inputs of a product to TF32 (10 bits of mantissa; bfloat16: 7) and adds in float32. Here the inputs of
every convolution, and of every other product, attention's too, are rounded to nearest in the same way, and the pairs
that collect.py makes are compared with those without rounding: same prompts, same seeds, the whole way from the noise
to the score. Shapes computes in float32 throughout; of a model in half precision only the parts in float32 are touched
(SDXL: the decoder).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

# a script beside this file has the name of a package that it needs, and their folder would come first
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from collect.collection import CollectJob
from collect.plan import make_plan
from npnet.paths import config_dir
from npnet.work.numerics import Numerics
from npnet.work.torch_settings import torch_settings

aten: Any = torch.ops.aten
CONVOLUTIONS = {aten.convolution}
PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm}
TF32, BFLOAT16 = 10, 7
"""Bits of mantissa that are left of 23."""
WAYS: Mapping[str, tuple[Collection[Any], Collection[Any], int]] = {
    "`cudnn_tf32=true` (default)": (CONVOLUTIONS, (), TF32),
    "`float32_matmul_precision=high`": (CONVOLUTIONS, PRODUCTS, TF32),
    "`float32_matmul_precision=medium`": (CONVOLUTIONS, PRODUCTS, BFLOAT16),
}


def rounded(tensor: Tensor, bits: int) -> Tensor:
    """Return float32 numbers with so many bits of mantissa, rounded to nearest, ties to even."""
    dropped = 23 - bits
    whole = tensor.contiguous().view(torch.int32)
    odd = (whole >> dropped) & 1
    return ((whole + (1 << (dropped - 1)) - 1 + odd) >> dropped << dropped).view(torch.float32)


class Rounding(TorchDispatchMode):
    """Rounds what enters convolutions to TF32, and what enters other products to ``bits``."""

    def __init__(self, convolutions: Collection[Any], products: Collection[Any], bits: int) -> None:
        super().__init__()
        self.bits = {**dict.fromkeys(convolutions, TF32), **dict.fromkeys(products, bits)}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        bits = self.bits.get(func._overloadpacket)
        if bits is not None:
            first = 1 if func._overloadpacket in (aten.addmm, aten.baddbmm) else 0  # what is added is not rounded
            given = list(args)
            for place in (first, first + 1):
                given[place] = rounded(given[place], bits)
            args = given
        return func(*args, **(kwargs or {}))


def made(job: CollectJob) -> tuple[Tensor, Tensor]:
    """Return the golden noises of the first chunk, and its scores: a row (source, golden) for each pair."""
    samples, maker = job.plan.chunk(0), job.maker
    with sdpa_kernel(SDPBackend.MATH):
        parts = list(maker.batches(samples, maker.encode(samples), job.plan.settings.batch_size))
    scores = [next(iter(row.values())) for part in parts for row in part.scores]
    return torch.cat([part.golden_noise for part in parts]), torch.tensor(scores, dtype=torch.float64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=128)
    count = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as name, initialize_config_dir(str(config_dir()), version_base="1.3"):
        asked = [f"output_dir={name}", f"prompts.limit={count}", f"chunk_size={count}", "batch_size=32"]
        job = CollectJob(make_plan(compose("collect", asked)))
        job.setup(0, "cpu")
        with torch_settings(Numerics(), "cpu"):
            noises, scores = made(job)
            print(
                f"{len(noises)} pairs of Shapes, {int((scores[:, 1] > scores[:, 0]).sum())} better than their source\n"
            )
            heads = (
                "golden noise, root mean square | largest | score, mean | largest | pairs that win or lose otherwise"
            )
            print(f"| | {heads} |\n|---|---|---|---|---|---|")
            for way, asked_of in WAYS.items():
                with Rounding(*asked_of):
                    other, others = made(job)
                moved, change = (other - noises).double(), (others - scores).abs()
                flips = int(((scores[:, 1] > scores[:, 0]) != (others[:, 1] > others[:, 0])).sum())
                size = float(moved.square().mean().sqrt())
                cells = [f"{value:.1e}" for value in (size, moved.abs().max(), change.mean(), change.max())]
                print(f"| {way} | {' | '.join(cells)} | {flips} of {len(noises)} |", flush=True)


if __name__ == "__main__":
    main()
