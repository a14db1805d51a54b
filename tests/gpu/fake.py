"""A GPU without a GPU: tensors on a fake ``cuda:0`` carry shape, dtype and device, and no numbers.

Under ``FakeTensorMode`` an operation between devices fails as it would on a GPU, and a read of a number by the host
raises ``DataDependentOutputException``.
"""

from functools import partial

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from npnet.backbones.runtime.pipeline import borrow
from npnet.records import Conditioning
from tests.backbones.members import PIPELINES, described_by

CUDA = torch.device("cuda:0")


def empty(mode, like, dtype=None):
    """Return a tensor on the GPU of the shape of another; a floating one in ``dtype``."""
    kind = dtype if dtype is not None and like.is_floating_point() else like.dtype
    with mode:
        return torch.empty(like.shape, dtype=kind, device=CUDA)


def move(mode, module, dtype=None):
    """Put fake tensors on the GPU into the places of a module's, as ``module.to`` would."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(empty(mode, parameter, dtype), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = empty(mode, buffer, dtype)
    module.to = partial(_to, mode, module)
    return module.eval()


def _to(mode, module, *args, **kwargs):
    wanted = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, torch.dtype)]
    return move(mode, module, *wanted)


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
