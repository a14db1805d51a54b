import threading
from dataclasses import dataclass

import pytest
import torch

from collect.dry_run import forwards_per_pair
from collect.loading import load
from collect.settings import CollectSettings
from npnet import seeding
from npnet.backbones import Shapes
from npnet.compatibility import check_parts, check_prompts
from npnet.data.prompts import PromptList, Sample
from npnet.engine.batches import Kept, Sampling
from npnet.engine.pairs import PairMaker
from npnet.errors import UserError
from npnet.metrics import load_metrics
from npnet.noise import Inversion, Standard
from npnet.noise.base import NoiseMethod
from npnet.noise.runtime import LoadedMethod
from npnet.records import NoiseResult
from npnet.work.processes import Processes
from tests.fakes import SHAPE, Brightness, LinearBackbone, LoadedLinear, Redraw, ShapesOnly, TargetScorer

SAMPLES = [Sample(i, prompt, seed) for i, (prompt, seed) in enumerate([("a", 5), ("b", 6), ("c", 5), ("d", 7)])]


FLOATS = Kept(form=torch.Tensor.cpu)


def planned(method=None, num_inference_steps=10, guidance_scale=5.5, backbone=None, **inversion):
    backbone = backbone or LinearBackbone()
    settings = {"guidance_scale": 5.5, "inversion_guidance_scale": 1.0, "num_inference_steps": num_inference_steps}
    method = method or Inversion(**(settings | inversion))
    return CollectSettings(
        backbone=backbone,
        noise={"label": method},
        metric={"target": TargetScorer()},
        prompts=PromptList(["a"]),
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        output_dir="unused",
        engine=Processes(),
    )


def maker(backbone=None, **options):
    if not isinstance(backbone, LoadedLinear):
        return load(planned(backbone=backbone, **options), kept=FLOATS)
    settings = planned(**options)
    sampling = Sampling(settings.num_inference_steps, settings.guidance_scale)
    scorers = load_metrics(settings.metric, "cpu")
    return PairMaker(backbone, "label", settings.method.load(backbone), scorers, sampling, FLOATS)


def make(made, samples=SAMPLES):
    (candidates,) = pieces(made, samples)
    return candidates


def pieces(made, samples=SAMPLES):
    return list(made.batches(samples, made.encode(samples)))


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
    settings = planned(backbone=LinearBackbone(kind), **options)
    made = load(settings)
    make(made)
    assert made.backbone.cost.forwards == forwards * len(SAMPLES)
    assert forwards_per_pair(settings) == forwards


def test_a_re_denoising_of_another_step_count_shares_nothing():
    settings = planned(method=Inversion(5.5, 1.0, 50))
    made = load(settings)
    make(made)
    assert made.backbone.cost.forwards == 43 * len(SAMPLES)
    assert forwards_per_pair(settings) == 43


@pytest.mark.parametrize("kind", ["variance_preserving", "flow"])
def test_both_pictures_and_scores_are_those_of_plain_sampling(kind):
    made = maker(backbone=LinearBackbone(kind))
    candidates = make(made)
    backbone, metric = made.backbone, TargetScorer().load()
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


class LoadedBurst(LoadedMethod):
    def __call__(self, noise, conditioning, backbone, generators):
        return NoiseResult(noise * 1e6)


class Burst(NoiseMethod):
    """Golden noise that half precision cannot hold."""

    runtime = LoadedBurst


def test_golden_noise_that_half_precision_cannot_hold_is_not_finite():
    candidates = make(maker(method=Burst()))
    assert all(row["target"][1] != row["target"][1] for row in candidates.scores)
    assert all(row["target"][0] == row["target"][0] for row in candidates.scores)


class LoadedSmall(LoadedLinear):
    """A device whose memory holds four samples at once."""

    def evaluate(self, latents, label, conditioning, unconditional):
        if len(latents) > 4:
            raise torch.OutOfMemoryError
        return super().evaluate(latents, label, conditioning, unconditional)


@dataclass(frozen=True)
class Small(LinearBackbone):
    runtime = LoadedSmall


def test_a_batch_that_does_not_fit_is_halved_and_says_so():
    made = maker(backbone=Small(), guidance_scale=1.0, method=Redraw())
    parts = pieces(made)
    assert [len(part.samples) for part in parts] == [2, 2]
    assert made.smallest_batch == 2
    made.start_chunk()
    assert made.smallest_batch is None
    assert [len(part.samples) for part in pieces(made)] == [2, 2]
    assert made.smallest_batch == 2
    whole = make(maker(guidance_scale=1.0, method=Redraw()))
    assert torch.allclose(torch.cat([part.images[1] for part in parts]), whole.images[1], atol=1e-6)


def test_a_device_too_small_for_one_pair_is_said_in_one_line():
    class LoadedTiny(LoadedLinear):
        def evaluate(self, *arguments):
            raise torch.OutOfMemoryError

    made = maker(backbone=LoadedTiny(LinearBackbone()))
    with pytest.raises(UserError, match="out of memory with a single pair"):
        pieces(made)


def same(parts, others):
    assert [part.samples for part in parts] == [other.samples for other in others]
    for part, other in zip(parts, others, strict=True):
        assert torch.equal(part.source_noise, other.source_noise)
        assert torch.equal(part.golden_noise, other.golden_noise)
        assert all(torch.equal(*images) for images in zip(part.images, other.images, strict=True))
        assert part.scores == other.scores


class Witness(LoadedLinear):
    """Notes which thread decodes, and what was denoised by then."""

    def __init__(self, fails=False):
        super().__init__(LinearBackbone())
        self.fails, self.threads, self.forwards_by_then = fails, [], []
        self.second_batch_began = threading.Event()

    def decode(self, latents):
        self.threads.append(threading.current_thread())
        if self.fails and self.threads[-1] is not threading.main_thread():
            raise torch.OutOfMemoryError
        if self.threads[-1] is not threading.main_thread():
            self.second_batch_began.wait(timeout=10)
        self.forwards_by_then.append(self.cost.forwards)
        return super().decode(latents)

    def evaluate(self, latents, label, conditioning, unconditional):
        if self.cost.forwards > 41:
            self.second_batch_began.set()
        return super().evaluate(latents, label, conditioning, unconditional)


def batches(made, overlaps, batch_size=1):
    made.pipeline.overlaps = overlaps
    return list(made.batches(SAMPLES, made.encode(SAMPLES), batch_size))


@pytest.mark.parametrize("batch_size", [1, 3, 4, 9])
def test_scoring_beside_the_denoising_changes_no_bit(batch_size):
    serial, overlapped = maker(), maker()
    assert not serial.pipeline.overlaps, "on a CPU the serial form is the default"
    same(batches(overlapped, True, batch_size), batches(serial, False, batch_size))
    assert overlapped.backbone.cost == serial.backbone.cost
    assert overlapped.scorers["target"].meter.calls == serial.scorers["target"].meter.calls


def test_a_batch_is_scored_while_the_next_one_is_denoised():
    made = maker(backbone=Witness())
    batches(made, True)
    assert threading.main_thread() not in made.backbone.threads
    first, *_ = made.backbone.forwards_by_then
    assert first > 41, "the first batch was scored before the second was begun"


def test_a_batch_that_does_not_fit_beside_another_is_computed_again_by_itself():
    made = maker(backbone=Witness(fails=True))
    same(batches(made, True), batches(maker(), False))
    assert made.smallest_batch is None, "nothing had to be split"
    assert not made.pipeline.overlaps


def test_a_batch_that_does_not_fit_at_all_is_halved_beside_another_too():
    made = maker(backbone=Small(), guidance_scale=1.0, method=Redraw())
    assert [len(part.samples) for part in batches(made, True, 3)] == [1, 1, 1, 1]
    assert made.smallest_batch == 1


def test_a_method_that_scores_while_it_searches_never_shares_its_metric_with_a_second_thread():
    class Elsewhere(LoadedLinear):
        device = property(lambda self: torch.device("cuda"), lambda self, device: None)

    parts = ("label", Standard(), {"target": TargetScorer().load()}, Sampling(10, 5.5))
    assert PairMaker(Elsewhere(LinearBackbone()), *parts).pipeline.overlaps
    searching = PairMaker(
        Elsewhere(LinearBackbone()), "label", Guided(), {"hpsv2": TargetScorer().load()}, Sampling(10, 5.5)
    )
    assert not searching.pipeline.overlaps


class Guided(NoiseMethod):
    scorers = ("hpsv2",)


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
    backbone = Shapes()
    check_prompts(backbone, ["a red circle above a blue square"])
    with pytest.raises(UserError, match="backbone=shapes: .*anything"):
        check_prompts(backbone, ["anything"])
