"""The random numbers of a sample: its own for every prompt, and for every purpose."""

import torch

from npnet.data.prompts import Sample
from npnet.engine.batches import Sampling
from npnet.engine.methods import evaluate_methods
from npnet.noise import Standard
from npnet.noise.runtime.standard import LoadedStandard
from tests.fakes import LoadedLinear, linear


def drawn(monkeypatch, samples):
    """What the generators of the noise method and those of the sampler draw first, a row for each sample."""
    found = {}

    def numbers(generators):
        return torch.stack([torch.randn(4, generator=generator) for generator in generators])

    class LoadedDrawing(LoadedStandard):
        def __call__(self, noise, conditioning, backbone, generators):
            found["method"] = numbers(generators)
            return super().__call__(noise, conditioning, backbone, generators)

    class Drawing(Standard):
        runtime = LoadedDrawing

    def sample(self, noise, *others, generators, **options):
        found["sampler"] = numbers(generators)
        return noise

    monkeypatch.setattr(LoadedLinear, "sample", sample)
    backbone = linear()
    sampling = Sampling(num_inference_steps=2, guidance_scale=2.0, sampler="euler_ancestral", seed=0)
    evaluate_methods(backbone, {"drawing": Drawing().load(backbone)}, {}, samples, sampling)
    return found["method"], found["sampler"]


def test_two_prompts_of_one_seed_draw_different_numbers(monkeypatch):
    for rows in drawn(monkeypatch, [Sample(0, "a", 7), Sample(1, "b", 7)]):
        assert not torch.equal(rows[0], rows[1])


def test_the_sampler_does_not_draw_the_methods_numbers_again(monkeypatch):
    method, sampler = drawn(monkeypatch, [Sample(0, "a", 7)])
    assert not torch.equal(method, sampler)


def test_the_same_sample_draws_the_same_numbers(monkeypatch):
    for rows, again in zip(*(drawn(monkeypatch, [Sample(0, "a", 7)]) for _ in range(2)), strict=True):
        assert torch.equal(rows, again)
