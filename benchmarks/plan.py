"""Plan and measurement side by side, on a machine with a GPU: seconds and peak memory of a backbone's parts.

python benchmarks/plan.py backbone=sdxl [backbone.path=DIR] [any other key of evaluate.py]

Weights are random where ``random=true`` is given: only the pipeline's small files are read then. Prints, for a batch of
the YAML, what was counted and what was measured, and the share of the GPU's peak that was reached.
"""

import statistics
import sys
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from npnet.backbones.runtime.pipeline import adopt
from npnet.costs.command import PlanSettings, counted
from npnet.costs.gpus import KNOWN, chosen
from npnet.costs.runtime.models import LEVEL, conditioning, make_pipeline
from npnet.paths import config_dir
from npnet.settings import read, resolved

ROUNDS = 5


def random_pipeline(described):
    """Return the pipeline at its full size on the GPU, of small random weights."""
    pipeline = make_pipeline(described)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to_empty(device="cuda").to(getattr(torch, described.dtype))
            for tensor in (*part.parameters(), *part.buffers()):
                if tensor.is_floating_point():
                    tensor.data.normal_(0, 0.02)
    return pipeline


def measured(compute):
    """Return the median seconds of a call, and the bytes that its peak holds beside what was there."""
    compute()
    torch.cuda.synchronize()
    before, found = torch.cuda.memory_allocated(), []
    torch.cuda.reset_peak_memory_stats()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        compute()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found), torch.cuda.max_memory_allocated() - before


@torch.no_grad()
def main(arguments):
    """Print a line for each part."""
    if not torch.cuda.is_available():
        sys.exit("benchmarks/plan.py compares with a GPU, and there is none here; npnet plan needs none")
    overrides = [argument for argument in arguments if argument != "random=true"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        settings = read(PlanSettings, resolved(compose("plan", overrides)))
    described, name = settings.backbone, torch.cuda.get_device_name().lower().replace(" ", "")
    parts = counted("backbone", described).parts
    gpu = next((known for known in KNOWN if known.name in name), chosen(settings.gpu)[0])
    if "random=true" in arguments:
        backbone = adopt(described, random_pipeline(described), "cuda")
    else:
        backbone = described.load("cuda")
    size = described.settings.get("batch_size", {}).get("evaluate", 8)
    noise = torch.randn(size, *backbone.latent_shape(), device="cuda")
    latents, given = torch.cat([noise, noise]), conditioning(backbone, 2 * size)
    given = given.map(
        lambda tensor: torch.randn_like(tensor) if tensor.is_floating_point() else torch.ones_like(tensor)
    )
    given = backbone.with_guidance(given, 1.0)
    calls = {
        "denoiser": (2 * size, lambda: backbone.predict_branches(latents, LEVEL, given, unconditional=False)),
        "decoder": (size, lambda: backbone.decode(noise)),
    }
    print(f"{torch.cuda.get_device_name()}, by {gpu.name} at {gpu.share:.0%} of its peak, torch {torch.__version__}")
    for label, (rows, call) in calls.items():
        seconds, held = measured(call)
        planned, bytes_planned = gpu.seconds(parts[label], rows), parts[label].held_bytes(rows)
        print(
            f"{label}, {rows} rows: planned {planned:.3f} s and {bytes_planned / 2**30:.2f} GiB, "
            f"measured {seconds:.3f} s and {held / 2**30:.2f} GiB; of the peak {gpu.share * planned / seconds:.0%}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
