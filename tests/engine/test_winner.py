"""A search's winner is not sampled again where the caller would sample it in the same way."""

from dataclasses import dataclass, replace

import pytest
import torch

from npnet.data.prompts import Sample
from npnet.engine.batches import Kept, Sampling
from npnet.engine.methods import evaluate_methods
from npnet.noise import BestOfN, NoiseDiffusion, ZeroOrderSearch
from npnet.noise.runtime.best_of_n import LoadedBestOfN
from tests.fakes import TargetScorer, linear

SAMPLES = [Sample(number, prompt, number) for number, prompt in enumerate("abcde")]
STEPS, SCALE = 3, 5.5
SAME = Sampling(STEPS, SCALE)
ONE = 2 * STEPS
"""Forwards of one sampling."""


class Forgetful(LoadedBestOfN):
    def __call__(self, *given):
        return replace(super().__call__(*given), finished=None)


@dataclass(frozen=True)
class ForgetfulBestOfN(BestOfN):
    runtime = Forgetful


def evaluated(method, sampling=SAME):
    """The record and the kept pictures; the method's own draws do not depend on who it is."""
    backbone, scorers, pictures = linear(), {"target": TargetScorer().load()}, []
    sample = backbone.sample  # which knows no other sampler than its own
    backbone.sample = lambda *given, sampler="default", generators=None, **more: sample(*given, **more)
    record = evaluate_methods(
        backbone,
        {"m": method.load(backbone, scorers)},
        scorers,
        SAMPLES,
        sampling,
        4,  # two batches, of 4 and of 1
        Kept(form=lambda images: images),
        lambda label, sample, picture: pictures.append(picture),
    )["m"]
    return record, torch.stack(pictures), method.picture_forwards(backbone, sampling.num_inference_steps, SCALE)


def test_the_pictures_are_the_same_bit_for_bit_and_cost_one_sampling_less():
    record, pictures, said = evaluated(BestOfN(STEPS, SCALE, "target", 3))
    again, others, _ = evaluated(ForgetfulBestOfN(STEPS, SCALE, "target", 3))
    assert torch.equal(pictures, others)
    assert record.scores == again.scores
    assert record.cost.forwards == len(SAMPLES) * 3 * ONE
    assert again.cost.forwards == len(SAMPLES) * 4 * ONE
    assert said == 3 * ONE


@pytest.mark.parametrize(
    "method",
    [
        ZeroOrderSearch(STEPS, SCALE, "target", 1, 2),
        NoiseDiffusion(STEPS, SCALE, "target", num_rounds=2, num_candidates=3, threshold=None),
    ],
    ids=lambda method: type(method).__name__,
)
def test_every_search_without_gradients_hands_its_winner_over(method):
    record, _, said = evaluated(method)
    assert record.cost.forwards == len(SAMPLES) * 3 * ONE == len(SAMPLES) * said


@pytest.mark.parametrize(
    "sampling", [Sampling(STEPS + 1, SCALE), Sampling(STEPS, SCALE + 1), Sampling(STEPS, SCALE, "ddim")]
)
def test_another_sampling_is_made(sampling):
    record, _, _ = evaluated(BestOfN(STEPS, SCALE, "target", 3), sampling)
    assert record.cost.forwards == len(SAMPLES) * (3 * ONE + 2 * sampling.num_inference_steps)


def test_a_winner_of_a_smaller_batch_is_sampled_in_the_whole_one():
    scorer = TargetScorer().load()
    backbone = linear()
    conditioning = backbone.encode([sample.prompt for sample in SAMPLES[:3]])
    noise = torch.randn(3, *backbone.latent_shape(), generator=torch.Generator().manual_seed(0))
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    first = scorer.score(backbone.decode(backbone.sample(noise, conditioning, STEPS, SCALE)), conditioning.prompts)
    for threshold, is_kept in ((float(first.min()), True), (float(first.sort().values[1]), False)):
        method = BestOfN(STEPS, SCALE, "target", 9, threshold=threshold).load(backbone, {"target": scorer})
        result = method(noise, conditioning, backbone, [generator.clone_state() for generator in generators])
        assert torch.equal(result.noise, noise) == is_kept  # the lowest of three goes on alone, and finds a better one
        assert (result.finished is not None) == is_kept
