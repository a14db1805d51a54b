"""What is counted on the fake GPU, against closed forms."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from npnet.backbones import Shapes
from npnet.costs.runtime.counter import CUDA, Counter, count, fused_attention, move, weight_bytes
from npnet.costs.runtime.models import conditioning, on_gpu


def counted(compute, *shapes, dtype=torch.float16):
    mode, counter = FakeTensorMode(), Counter()
    with mode:
        given = [torch.empty(shape, dtype=dtype, device=CUDA) for shape in shapes]
        with fused_attention(), counter:
            compute(*given)
    return counter


def test_a_product_is_two_operations_for_each_of_its_terms_and_holds_its_result():
    counter = counted(torch.mm, (3, 5), (5, 7))
    assert counter.flops == {"half": 2 * 3 * 5 * 7, "convolution": 0, "float32": 0}
    assert (counter.launches, counter.peak) == (1, 3 * 7 * 2)


def test_arithmetic_is_told_apart_as_gpus_do():
    counter = counted(lambda a, b: F.conv2d(a, b), (1, 2, 8, 8), (4, 2, 3, 3), dtype=torch.float32)
    assert counter.flops == {"half": 0, "convolution": 2 * 4 * 2 * 9 * 36, "float32": 0}
    assert counted(torch.mm, (3, 5), (5, 7), dtype=torch.float32).flops["float32"] == 2 * 3 * 5 * 7


def test_what_nobody_holds_any_more_is_free_and_views_and_weights_cost_nothing():
    def chain(weight):
        value = weight.t()
        for _ in range(10):
            value = value + 1

    counter = counted(chain, (4, 8))
    assert (counter.launches, counter.peak, counter.live) == (10, 2 * 4 * 8 * 2, 0)


def test_attention_holds_no_matrix_of_all_pairs():
    shape, tokens = (1, 2, 1000, 8), 1000
    counter = counted(lambda *given: F.scaled_dot_product_attention(*given), shape, shape, shape)
    assert counter.flops["half"] == 2 * 2 * 2 * tokens * tokens * 8
    assert counter.peak < tokens * tokens


def test_a_number_that_the_host_reads_is_noted():
    assert counted(lambda a: bool(torch.isfinite(a).all()), (3,)).reads == 1


def test_a_part_of_any_rows_costs_what_two_and_three_say():
    mode, backbone = on_gpu(Shapes())

    def denoise(rows):
        noise = torch.empty(rows, *backbone.latent_shape(), device=CUDA)
        return backbone.predict_branches(noise, 500.0, conditioning(backbone, rows), unconditional=False)

    module = backbone.denoiser.module
    with torch.no_grad():
        part = count(mode, denoise, weight_bytes(module))
        with fused_attention(), mode, Counter() as counter:
            denoise(9)
    assert weight_bytes(module) == 4 * sum(parameter.numel() for parameter in module.parameters())
    assert counter.launches == pytest.approx(part.launches(9), abs=2)  # constants are made at the first call
    assert counter.peak == pytest.approx(part.held_bytes(9), rel=0.02)
    assert sum(counter.flops.values()) == pytest.approx(9 * part.total_flops, rel=1e-6)


def test_tied_weights_stay_tied_on_the_gpu():
    one, other = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    other.weight = one.weight
    both = move(FakeTensorMode(), torch.nn.ModuleList([one, other]))
    assert weight_bytes(both) == 4 * (9 + 3 + 3)
