"""A GPU without a GPU: tensors on a fake ``cuda:0`` carry shape, dtype and device, and no numbers.

Under ``FakeTensorMode`` an operation between devices fails as it would on a GPU, and a read of a number by the host
raises ``DataDependentOutputException``.
"""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from npnet.backbones.runtime.pipeline import borrow
from npnet.costs.runtime.counter import CUDA, empty, move
from npnet.records import Conditioning
from tests.backbones.members import PIPELINES, described_by


def backbone_on_gpu(name, dtype):
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
            move(mode, part, dtype)
    if "vae" in described.layout.float32_parts:
        move(mode, pipeline.vae, torch.float32)
    backbone = borrow(described, pipeline, CUDA, dtype)
    conditioning: Conditioning = on_cpu.map(lambda tensor: empty(mode, tensor, dtype))
    return mode, backbone, conditioning


def noise_on_gpu(mode, backbone, count=2):
    """Return source noise on the GPU."""
    with mode:
        return torch.empty(count, *backbone.latent_shape(), device=CUDA)
