import pytest
import torch

from collect.candidates import CandidateMaker
from collect.summary import forwards_per_pair
from npnet import seeding
from npnet.data.prompts import Sample
from npnet.errors import UserError
from npnet.noise import Inversion, Standard
from npnet.noise.base import NoiseMethod
from npnet.noise.parts import check_parts, check_prompts
from npnet.records import NoiseResult
from tests.fakes import SHAPE, Brightness, LinearBackbone, Redraw, ShapesOnly, TargetScorer

SAMPLES = [Sample(i, prompt, seed) for i, (prompt, seed) in enumerate([("a", 5), ("b", 6), ("c", 5), ("d", 7)])]


def maker(method=None, num_inference_steps=10, guidance_scale=5.5, backbone=None, **inversion):
    backbone = backbone or LinearBackbone()
    settings = {"guidance_scale": 5.5, "inversion_guidance_scale": 1.0, "num_inference_steps": num_inference_steps}
    method = method or Inversion(**(settings | inversion))
    made = CandidateMaker(backbone, "label", method, {"target": TargetScorer()}, num_inference_steps, guidance_scale)
    return made.load()


def make(made, samples=SAMPLES):
    (candidates,) = made.make(samples, made.encode(samples))
    return candidates


@pytest.mark.parametrize(
    ("options", "forwards"),
    [
        ({}, 41),
        ({"num_inference_steps": 50}, 201),
        ({"guidance_scale": 3.0}, 41),  # sampled under another guidance than the re-denoising's
        ({"inversion_guidance_scale": 0.0}, 42),
        ({"cycles": 2}, 44),
        ({"guidance_scale": 1.0}, 22),
        ({"method": Standard()}, 40),
        ({"method": Redraw()}, 40),
    ],
)
@pytest.mark.parametrize("kind", ["variance_preserving", "flow"])
def test_no_evaluation_is_made_twice_and_the_documented_count_is_the_measured_one(kind, options, forwards):
    if options.get("inversion_guidance_scale") is not None:
        options = options | {"method": Inversion(5.5, 0.0, 10)}
        options.pop("inversion_guidance_scale")
    made = maker(backbone=LinearBackbone(kind), **options)
    make(made)
    assert made.backbone.cost.forwards == forwards * len(SAMPLES)
    assert forwards_per_pair(made) == forwards


def test_a_re_denoising_of_another_step_count_shares_nothing():
    made = maker(method=Inversion(5.5, 1.0, 50))
    make(made)
    assert made.backbone.cost.forwards == 43 * len(SAMPLES)
    assert forwards_per_pair(made) == 43


@pytest.mark.parametrize("kind", ["variance_preserving", "flow"])
def test_both_pictures_and_scores_are_those_of_plain_sampling(kind):
    made = maker(backbone=LinearBackbone(kind))
    candidates = make(made)
    backbone, metric = made.backbone, TargetScorer()
    prompts = [sample.prompt for sample in SAMPLES]
    for side, noise in enumerate([candidates.source_noise, candidates.golden_noise]):
        images = backbone.decode(backbone.sample(noise, backbone.encode(prompts), 10, 5.5))
        assert torch.allclose(candidates.images[side], images, atol=1e-5)
        scores = [row["target"][side] for row in candidates.scores]
        assert torch.allclose(torch.tensor(scores), metric.score(images, prompts), atol=1e-5)


def test_source_noise_is_that_of_the_seeds_and_golden_noise_that_of_the_method():
    made = maker()
    candidates = make(made)
    seeds = [sample.seed for sample in SAMPLES]
    assert torch.equal(candidates.source_noise, seeding.source_noises(seeds, SHAPE))
    golden = made.method(candidates.source_noise, candidates.conditioning, made.backbone, []).noise
    assert torch.equal(candidates.golden_noise, golden)
    assert candidates.golden_noise.dtype == torch.float32


def test_a_random_method_draws_from_the_streams_of_the_samples():
    candidates = make(maker(method=Redraw()))
    expected = [
        torch.randn(SHAPE, generator=seeding.stream(sample.seed, "noise method", "label")) for sample in SAMPLES
    ]
    assert torch.equal(candidates.golden_noise, torch.stack(expected))


def test_each_distinct_prompt_is_encoded_once():
    made = maker()
    samples = [Sample(0, "a", 1), Sample(0, "a", 2), Sample(1, "b", 1)]
    make(made, samples)
    assert made.backbone.encoded == ["a", "b"]


def test_a_sample_that_is_not_finite_spoils_no_other():
    samples = [Sample(0, "a", 5), Sample(1, "NaN", 6), Sample(2, "c", 5)]
    candidates, alone = make(maker(), samples), make(maker(), [samples[0]])
    assert all(value != value for value in candidates.scores[1]["target"])
    assert candidates.scores[0]["target"] == pytest.approx(alone.scores[0]["target"], rel=1e-4)


class Burst(NoiseMethod):
    """Golden noise that half precision cannot hold."""

    def __call__(self, noise, conditioning, backbone, generators):
        return NoiseResult(noise * 1e6)


def test_golden_noise_that_half_precision_cannot_hold_is_not_finite():
    candidates = make(maker(method=Burst()))
    assert all(row["target"][1] != row["target"][1] for row in candidates.scores)
    assert all(row["target"][0] == row["target"][0] for row in candidates.scores)


class Small(LinearBackbone):
    """A device whose memory holds four samples at once."""

    def model_output(self, latents, label, conditioning, unconditional):
        if len(latents) > 4:
            raise torch.OutOfMemoryError
        return super().model_output(latents, label, conditioning, unconditional)


def test_a_batch_that_does_not_fit_is_halved_and_says_so():
    made = maker(backbone=Small(), guidance_scale=1.0, method=Redraw())
    parts = made.make(SAMPLES, made.encode(SAMPLES))
    assert [len(part.samples) for part in parts] == [2, 2]
    assert made.smallest_batch == 2
    made.start_chunk()
    assert made.smallest_batch is None
    assert [len(part.samples) for part in made.make(SAMPLES, made.encode(SAMPLES))] == [2, 2]
    assert made.smallest_batch == 2
    whole = make(maker(guidance_scale=1.0, method=Redraw()))
    assert torch.allclose(torch.cat([part.images[1] for part in parts]), whole.images[1], atol=1e-6)


def test_a_device_too_small_for_one_pair_is_said_in_one_line():
    class Tiny(LinearBackbone):
        def model_output(self, *arguments):
            raise torch.OutOfMemoryError

    made = maker(backbone=Tiny())
    with pytest.raises(UserError, match="out of memory with a single pair"):
        made.make(SAMPLES, made.encode(SAMPLES))


class Guided(NoiseMethod):
    scorers = ("hpsv2",)

    def __call__(self, noise, conditioning, backbone, generators):
        return NoiseResult(noise)


class Follower(Guided):
    scorers = ("blind",)
    needs_gradients = True


class Blind(Brightness):
    differentiable = False


@pytest.mark.parametrize(
    ("method", "metrics", "message"),
    [
        (Standard(), {"shapes_judge": ShapesOnly()}, "metric.shapes_judge judges pictures of backbone=shapes only"),
        (Guided(), {"bright": Brightness()}, r"noise.x optimises hpsv2: add it to the metrics, metric=.bright,hpsv2"),
        (Follower(), {"blind": Blind()}, "noise.x follows gradients, which metric.blind does not have; have: none"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(method, metrics, message):
    with pytest.raises(UserError, match=message):
        check_parts(LinearBackbone(), {"x": method}, metrics)


def test_a_prompt_that_the_built_in_model_has_no_words_for_is_refused():
    backbone = LinearBackbone()
    check_prompts(backbone, ["anything"])
    backbone.domain = "shapes"
    check_prompts(backbone, ["a red circle above a blue square"])
    with pytest.raises(UserError, match="backbone=shapes: .*anything"):
        check_prompts(backbone, ["anything"])
