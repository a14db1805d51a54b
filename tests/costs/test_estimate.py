"""The arithmetic from counts to memory and time."""

from dataclasses import replace

import pytest

from npnet.costs.counts import Part
from npnet.costs.estimate import CONTEXT_BYTES, DECODER, DENOISER, Run, training_peak, training_seconds
from npnet.costs.gpus import GPU, KNOWN, LAUNCH_SECONDS, chosen
from npnet.costs.wording import describe, describe_training, flops, hours
from npnet.errors import FieldError

GIB = 2**30


def part(weights=0, half=0, convolution=0, float32=0, launches=0, each=0, first=0, more=0):
    return Part(weights, {"half": half, "convolution": convolution, "float32": float32}, launches, each, first, more)


RUN = Run(
    denoiser=part(4 * GIB, half=10**12, launches=1000, first=GIB, more=GIB),
    decoder=part(GIB, convolution=10**12, launches=100, each=100, first=3 * GIB),
    text=part(2 * GIB, first=GIB // 2),
    scorers={"a": part(GIB, first=GIB)},
    batch_size=4,
    rows=2,
    forwards=20,
)


def test_a_product_takes_its_operations_over_the_peak_that_is_reached():
    gpu = GPU("x", tflops=100, memory=10, share=0.5)
    assert gpu.seconds(part(half=10**12), 3) == pytest.approx(3 * 1 / 50)
    assert gpu.seconds(part(convolution=10**12), 1) == pytest.approx(1 / 25)  # half of it
    assert gpu.seconds(part(float32=10**12), 1) == pytest.approx(16 / 50)


def test_a_small_call_takes_its_launches():
    assert KNOWN[0].seconds(part(half=1, launches=10, each=2), 6, calls=7) == pytest.approx(7 * 20 * LAUNCH_SECONDS)


def test_a_sample_costs_what_its_parts_do():
    assert RUN.flops == {DENOISER: 20 * 10**12, DECODER: 10**12, "a": 0, "text encoders": 0}
    gpu = replace(KNOWN[2], share=1.0)
    assert RUN.seconds(gpu) == pytest.approx(20 / 312 + 1 / 156, rel=0.01)
    assert replace(RUN, pictures=2).seconds(gpu) - RUN.seconds(gpu) == pytest.approx(1 / 156, rel=0.01)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_larger_batch_or_a_second_stage_never_needs_less(size):
    assert RUN.peak(size, False) <= RUN.peak(size) <= RUN.peak(2 * size)


def test_the_weights_are_there_all_the_time_save_those_of_offloaded_text_encoders():
    bare = replace(RUN, denoiser=part(4 * GIB), decoder=part(GIB), text=part(2 * GIB), scorers={"a": part(GIB)})
    assert bare.peak() == 8 * GIB + CONTEXT_BYTES
    offloaded = replace(RUN, offloaded=True)
    assert RUN.peak() - offloaded.peak() == 2 * GIB
    alone = replace(bare, offloaded=True)
    assert alone.peak() == bare.peak()  # while they encode


def test_a_gpu_holds_a_run_as_it_is_then_without_overlap_then_in_halves_or_not():
    def fit(num_bytes):
        return RUN.fit(GPU("x", tflops=1, memory=num_bytes / GIB))

    assert fit(RUN.peak()) == "fits"
    assert fit(RUN.peak() - 1) == "fits, without overlap"
    assert fit(RUN.peak(4, False) - 1) == "fits, 2 at once"
    assert fit(RUN.peak(1, False) - 1) is None


def test_several_workers_share_the_hours_and_each_needs_the_memory():
    one, four = (describe(RUN, "pair", 1000, replace(KNOWN[0]), workers) for workers in (1, 4))
    assert one[1:4] == four[1:4]
    assert hours(RUN.seconds(KNOWN[0]) * 1000) in one[-1]
    assert hours(RUN.seconds(KNOWN[0]) * 250) in four[-1]


def test_twice_the_processes_need_twice_the_pairs_a_second():
    step = part(GIB, float32=10**12, first=GIB, more=GIB)
    one, two = (describe_training(step, 64, 10, KNOWN[0], devices)[2] for devices in (1, 2))
    pairs = 64 / training_seconds(KNOWN[0], step, 64, False)
    assert f" {pairs:,.0f} on h200" in one
    assert f" {2 * pairs:,.0f} on h200" in two


def test_half_precision_makes_a_step_of_training_faster_and_every_pair_is_paid_for():
    step = part(GIB, float32=10**12, first=GIB, more=GIB)
    assert training_seconds(KNOWN[0], step, 64, True) < training_seconds(KNOWN[0], step, 64, False)
    assert training_seconds(KNOWN[0], step, 64, True) == pytest.approx(64 / (989 * 0.4))
    assert training_peak(step, 64) - training_peak(step, 63) == pytest.approx(1.2 * GIB, abs=2)


def test_a_gpu_is_named_described_or_all_that_are_known():
    assert [gpu.name for gpu in chosen(GPU())] == ["h200", "h100", "a100", "rtx4090", "t4"]
    assert chosen(GPU("t4", share=0.2)) == [replace(KNOWN[-1], share=0.2)]
    assert {gpu.share for gpu in chosen(GPU(share=0.2))} == {0.2}
    assert chosen(GPU("h100", memory=40))[0].memory == 40
    assert chosen(GPU(tflops=100, memory=24)) == [GPU("yours", tflops=100, memory=24)]
    for gpu, name in ((GPU(tflops=100), "memory"), (GPU(memory=24), "tflops"), (GPU("b200", memory=180), "tflops")):
        with pytest.raises(FieldError, match=rf"gpu\.{name}.* is needed"):
            chosen(gpu)
    with pytest.raises(FieldError, match="name=b200: known: h200"):
        GPU("b200")


@pytest.mark.parametrize(
    ("number", "text"), [(5e11, "500 GFLOP"), (2e12, "2 TFLOP"), (6.761e15, "6.76 PFLOP"), (3e18, "3 EFLOP")]
)
def test_operations_are_said_in_a_unit_that_a_person_reads(number, text):
    assert flops(number) == text
