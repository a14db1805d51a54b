"""Metrics on a fake GPU: no device is mixed, and the host reads whether pictures lie in [0, 1], once a call."""

import pytest
import torch
from torch import Tensor, nn

from npnet.costs.runtime.counter import empty, move
from tests.gpu.fake import GRADIENTS, Reads, backbone_on_gpu
from tests.metrics import tiny

LABELS = ("aes", "clipscore", "hpsv2", "hpsv2_0", "imagereward", "mps", "pickscore", "shapes_scorer", "vqascore")
"""The judge of Shapes, a judge behind an address and image-text models of transformers read pictures on the host."""
PROMPTS = ["red green blue", "yellow"]
SHAPES_PROMPTS = ["a red circle to the left of a blue square", "a green triangle above a yellow circle"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return tiny.write_all(tmp_path_factory.mktemp("metrics"))


def to_gpu(mode, thing, known):
    """Put fake tensors in the places of what a loaded metric holds, as loading it there would."""
    if id(thing) in known or not hasattr(thing, "__dict__") or not type(thing).__module__.startswith("npnet."):
        return
    known.add(id(thing))
    for name, value in list(vars(thing).items()):
        if isinstance(value, nn.Module):
            move(mode, value, device=GRADIENTS)
        elif isinstance(value, Tensor):
            setattr(thing, name, empty(mode, value, device=GRADIENTS))
        elif isinstance(value, torch.device):
            setattr(thing, name, GRADIENTS)
        else:
            to_gpu(mode, value, known)


@pytest.mark.parametrize("label", LABELS)
def test_a_metric_scores_on_the_gpu_with_gradients(sources, label):
    kind, arguments = sources[label]
    mode, scorer, reads = backbone_on_gpu("sdxl", torch.float16, GRADIENTS)[0], kind(**arguments).load("cpu"), Reads()
    to_gpu(mode, scorer, set())
    with mode, reads:
        images = torch.empty(2, 3, 64, 96, device=GRADIENTS, requires_grad=True)
        scores = scorer.score(images, SHAPES_PROMPTS if label == "shapes_scorer" else PROMPTS)
        (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert (scores.device, scores.dtype, scores.shape) == (GRADIENTS, torch.float32, (2,))
    assert gradient.device == GRADIENTS
    assert reads.found == {"require_images"}
