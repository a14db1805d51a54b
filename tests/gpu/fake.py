"""A GPU without a GPU: tensors on a fake device carry shape, dtype and device, and no numbers.

Under ``FakeTensorMode`` an operation between devices fails as it would on a GPU, and a read of a number by the host
raises ``DataDependentOutputException``. ``Reads`` lets reads happen and notes who reads.
"""

import itertools
import sys
from functools import cache

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from npnet.backbones.runtime.pipeline import borrow
from npnet.costs.runtime.counter import CUDA, empty, move
from npnet.records import Conditioning
from tests.backbones.members import PIPELINES, described_by

aten = torch.ops.aten
FAMILIES = (
    *("sd15", "sdxl", "hunyuan_dit", "sd3", "flux", "wan"),
    *("flux2_klein", "z_image", "qwen_image", "sana_sprint"),
)
"""A YAML of each family of backbones."""
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BY_TURNS = list(zip(FAMILIES, itertools.cycle(DTYPES)))
"""Each family in one format."""
GRADIENTS = torch.device("lazy:0")
"""A fake device with gradients: torch's backward pass asks the driver of a GPU, also for fake tensors."""
OF_THE_FAMILY = {"z_image": {"inside lengths"}}
"""What a family reads once a batch: Z-Image's network wants lists of the prompts' own rows (see test_gpu)."""
SAMPLING = {"LoadedBackbone.sample", "LoadedBackbone.evaluate", "LoadedBackbone.decode", "sample_in_graph"}
HELPERS = {"chosen"}
"""Functions that read for whoever calls them."""


class Reads(TorchDispatchMode):
    """Lets the host read 1 for every number, and notes the functions of ours that read; see ``found``.

    A copy to the host is a read too. One while the denoiser or decoder works is ``inside NAME``.
    """

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func._overloadpacket
        if packet is aten._local_scalar_dense:
            if args[0].device.type != "cpu":
                self.note()
            return 1
        if packet is aten.nonzero:  # as if every place were chosen
            self.note()
            return torch.zeros(args[0].numel(), args[0].ndim, dtype=torch.long, device=args[0].device)
        if packet is aten._to_copy and args[0].device.type != "cpu" and str(kwargs.get("device")) == "cpu":
            self.note()
        return func(*args, **kwargs)

    def note(self):
        frame, names = sys._getframe(2), []
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("npnet."):
                names.append(frame.f_code.co_qualname)
            frame = frame.f_back
        reader = next(name for name in names if name not in HELPERS)
        self.found.add(f"inside {reader}" if SAMPLING & set(names) else reader)


@cache
def backbone_on_gpu(name, dtype, device=CUDA):
    """Return a fake mode, a shipped backbone of tiny parts on the GPU, and the conditioning of two prompts there."""
    described = described_by(name)
    pipeline = PIPELINES[described.name](described.published_schedule().get("prediction_type"))
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    on_cpu = borrow(described, pipeline, torch.device("cpu"), torch.float32).encode(["a red fox", "two boats"])
    mode = FakeTensorMode()
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            move(mode, part, dtype, device)
    if "vae" in described.layout.float32_parts:
        move(mode, pipeline.vae, torch.float32, device)
    backbone = borrow(described, pipeline, device, dtype)
    conditioning: Conditioning = on_cpu.map(lambda tensor: empty(mode, tensor, dtype, device))
    return mode, backbone, conditioning


def noise_on_gpu(mode, backbone, count=2):
    """Return source noise on the GPU."""
    with mode:
        return torch.empty(count, *backbone.latent_shape(), device=backbone.device)
