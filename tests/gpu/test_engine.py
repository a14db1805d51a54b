"""Collection's and evaluation's inner loops on a fake GPU (generation and the evaluation during training use the same).

What the host reads is read once a batch, and never while the denoiser works.
"""

import pytest
import torch

from npnet.data.prompts import Sample
from npnet.engine.batches import Kept, Sampling
from npnet.engine.methods import Evaluator
from npnet.engine.pairs import PairMaker
from npnet.noise import Inversion, Standard
from tests.gpu.fake import BY_TURNS, GRADIENTS, OF_THE_FAMILY, Reads, backbone_on_gpu
from tests.gpu.test_methods import Mean

SAMPLES = [Sample(number, prompt, number) for number, prompt in enumerate(["a red fox", "two boats"])]
SAMPLING = Sampling(1, 2.0)
SCORING = {
    "Scoring.finish": "which samples are finite",
    "Scoring._scores.<locals>.<lambda>": "scores",
    "require_images": "whether pictures lie in [0, 1]",
    "as_bytes": "kept pictures, as uint8",
}
"""All read after the denoising, in the thread that scores."""
WHITENESS = "Scoring.finish.<locals>.<dictcomp>"
"""How white a method's noise is, in an evaluation."""


DROPPING = ("z_image", "qwen_image")
"""Their pipelines drop the padding of prompts: how much is left is a number that a fake tensor lacks, so prompts are
encoded before."""


@pytest.fixture
def run(monkeypatch):
    return lambda family, dtype, work: run_on_gpu(monkeypatch, family, dtype, work)


def run_on_gpu(monkeypatch, family, dtype, work):
    mode, backbone, conditioning = backbone_on_gpu(family, dtype, GRADIENTS)
    if family in DROPPING:
        monkeypatch.setattr(type(backbone), "encode", lambda self, prompts: conditioning)
    reads = Reads()
    with mode, reads:
        made = work(backbone)
    return made, reads.found


@pytest.mark.parametrize(("family", "dtype"), BY_TURNS, ids=str)
def test_pictures_are_evaluated_and_the_host_reads_only_once_a_batch(family, dtype, run):
    def work(backbone):
        evaluator = Evaluator(
            backbone, {"standard": Standard().load(backbone)}, {"mean": Mean()}, SAMPLING, kept=Kept()
        )
        return evaluator.run(SAMPLES, take=lambda label, sample, picture: kept.append(picture))

    kept = []
    records, found = run(family, dtype, work)
    assert len(records["standard"].scores["mean"]) == len(kept) == 2
    assert {picture.dtype for picture in kept} == {torch.uint8}
    assert found == {*SCORING, WHITENESS} | OF_THE_FAMILY.get(family, set())


@pytest.mark.parametrize(("family", "dtype"), [("sdxl", torch.float16), ("sd3", torch.bfloat16)], ids=str)
def test_pairs_are_collected_and_the_host_reads_only_once_a_batch(family, dtype, run):
    def work(backbone):
        method = Inversion(guidance_scale=2.0, inversion_guidance_scale=1.0, num_inference_steps=1).load(backbone)
        maker = PairMaker(backbone, "inversion", method, {"mean": Mean()}, SAMPLING)
        return list(maker.batches(SAMPLES, maker.encode(SAMPLES)))

    (pairs,), found = run(family, dtype, work)
    assert pairs.golden_noise.device.type == "cpu"
    assert pairs.golden_noise.dtype == torch.float32
    assert found == (set(SCORING) - {"as_bytes"}) | {"_pairs"}  # both noises, which are stored
