"""A batch that does not fit is halved at the stage that failed, and no other stage is computed again."""

import threading

import pytest
import torch

from npnet import seeding
from npnet.data.prompts import Sample
from npnet.engine.batches import Kept, Sampling
from npnet.engine.methods import Evaluator, evaluate_methods
from npnet.engine.pairs import PairMaker
from npnet.errors import UserError
from npnet.memory import Limit
from npnet.noise import BestOfN, Inversion, Standard, load_methods
from tests.evaluation.extra_fakes import BestOf, LoadedBestOf
from tests.fakes import SHAPE, LinearBackbone, LoadedLinear, Redraw, Targets, TargetScorer, linear

SAMPLES = [Sample(number, prompt, number) for number, prompt in enumerate("abcdefgh")]
STEPS = 4
SEARCH = 4
"""Forwards of each candidate of ``BestOf``."""


class Device(LoadedLinear):
    """A device that holds so many pictures while it decodes, and so many rows while it denoises."""

    def __init__(self, decoded=1000, denoised=1000):
        super().__init__(LinearBackbone(device="cpu"))
        self.decoded_at_once, self.denoised_at_once = decoded, denoised
        self.decoded = []

    def decode(self, latents):
        if len(latents) > self.decoded_at_once:
            raise torch.OutOfMemoryError
        self.decoded.append(len(latents))
        return super().decode(latents)

    def evaluate(self, latents, label, conditioning, unconditional):
        if len(latents) * (1 + unconditional) > self.denoised_at_once:
            raise torch.OutOfMemoryError
        return super().evaluate(latents, label, conditioning, unconditional)


class Narrow(Targets):
    """A scorer that takes so many pictures at once."""

    def __init__(self, at_once):
        super().__init__(TargetScorer())
        self.at_once = at_once

    def _score(self, images, prompts):
        if len(images) > self.at_once:
            raise torch.OutOfMemoryError
        return super()._score(images, prompts)


def inversion():
    return Inversion(guidance_scale=5.5, inversion_guidance_scale=1.0, num_inference_steps=STEPS)


def pairs(backbone, overlaps=False, scorer=None, samples=SAMPLES, batch_size=None, method=None):
    method = (method or inversion()).load(backbone)
    scorers = {"target": scorer or TargetScorer().load()}
    made = PairMaker(backbone, "label", method, scorers, Sampling(STEPS, 5.5), Kept())
    made.pipeline.overlaps = overlaps
    return made, list(made.batches(samples, made.encode(samples), batch_size))


def same(found, expected):
    for name in ("source_noise", "golden_noise"):
        joined = [torch.cat([getattr(part, name) for part in parts]) for parts in (found, expected)]
        assert torch.allclose(*joined, atol=1e-6)
    for side in (0, 1):
        joined = [torch.cat([part.images[side] for part in parts]) for parts in (found, expected)]
        assert torch.equal(*joined)
    rows = [[row["target"] for part in parts for row in part.scores] for parts in (found, expected)]
    assert torch.allclose(*(torch.tensor(scores) for scores in rows), atol=1e-6)


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("at_once", [1, 3, 4, 15])
def test_a_decode_that_does_not_fit_is_done_in_slices_and_nothing_is_denoised_again(at_once, overlaps):
    backbone = Device(decoded=at_once)
    made, found = pairs(backbone, overlaps, batch_size=4)
    assert [len(part.samples) for part in found] == [4, 4]
    assert backbone.cost.forwards == 17 * len(SAMPLES), "4 N + 1 for each pair of the first shard too"
    assert max(backbone.decoded) <= at_once
    assert sum(backbone.decoded) == 2 * len(SAMPLES)
    assert made.smallest_batch is None, "the batch itself did fit"
    same(found, pairs(Device())[1])


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize("rows", [4, 8, 16])
def test_a_sampling_that_does_not_fit_is_halved_and_the_method_is_not_asked_again(rows, overlaps):
    backbone = Device(denoised=rows)
    made, found = pairs(backbone, overlaps, batch_size=8)
    assert [len(part.samples) for part in found] == [rows // 4] * (32 // rows)
    assert backbone.cost.forwards == 17 * len(SAMPLES)
    assert made.smallest_batch == rows // 4
    same(found, pairs(Device())[1])


def test_what_was_learnt_is_remembered_from_batch_to_batch():
    backbone = Device(decoded=3)
    made, _ = pairs(backbone, batch_size=4)
    assert made.scoring.decoding.most == 2
    assert backbone.decoded == [2] * 8


@pytest.mark.parametrize("overlaps", [False, True])
def test_a_scorer_that_does_not_fit_is_asked_in_pieces_and_nothing_is_decoded_again(overlaps):
    backbone = Device()
    _, found = pairs(backbone, overlaps, Narrow(3))
    assert backbone.cost.forwards == 17 * len(SAMPLES)
    assert sum(backbone.decoded) == 2 * len(SAMPLES) * (2 if overlaps else 1)
    same(found, pairs(Device())[1])


def test_an_evaluation_goes_on_in_slices_and_its_costs_are_those_of_a_large_device():
    methods = {"standard": Standard(), "inversion": inversion(), "redraw": Redraw()}

    def records(backbone):
        loaded = {label: method.load(backbone) for label, method in methods.items()}
        scorers = {"target": TargetScorer().load()}
        return evaluate_methods(backbone, loaded, scorers, SAMPLES, Sampling(STEPS, 5.5), batch_size=8)

    large = records(Device())
    for backbone in (Device(decoded=3), Device(denoised=5), Device(decoded=1, denoised=2)):
        small = records(backbone)
        for label, record in large.items():
            assert small[label].cost == record.cost
            assert small[label].scores["target"] == pytest.approx(record.scores["target"], abs=1e-6)
            assert sum(size for size, _ in small[label].batches) == len(SAMPLES)


def test_a_search_that_does_not_fit_is_halved_as_a_whole_and_has_a_trace_for_each_half():
    class LoadedLarge(LoadedBestOf):
        def __call__(self, noise, *others):
            if len(noise) > 4:
                raise torch.OutOfMemoryError
            return super().__call__(noise, *others)

    class Large(BestOf):
        runtime = LoadedLarge

    def record(method):
        backbone, scorers = Device(), {"target": TargetScorer().load()}
        return evaluate_methods(
            backbone, {"best": method.load(backbone, scorers)}, scorers, SAMPLES, Sampling(STEPS, 5.5)
        )["best"]

    small, large = record(Large()), record(BestOf())
    assert [len(trace.scores[0]) for trace in small.traces] == [4, 4]
    assert small.cost == large.cost
    assert small.scores["target"] == pytest.approx(large.scores["target"], abs=1e-6)


def test_the_sampling_of_a_search_in_halves_leaves_one_trace():
    class Crowded(Device):
        searching = False

        def evaluate(self, latents, *others):
            if not self.searching and len(latents) > 4:
                raise torch.OutOfMemoryError
            return super().evaluate(latents, *others)

    class LoadedInside(LoadedBestOf):
        def __call__(self, noise, conditioning, backbone, generators):
            backbone.searching = True
            result = super().__call__(noise, conditioning, backbone, generators)
            backbone.searching = False
            return result

    class Inside(BestOf):
        runtime = LoadedInside

    backbone, scorers = Crowded(), {"target": TargetScorer().load()}
    methods = {"best": Inside().load(backbone, scorers)}
    record = evaluate_methods(backbone, methods, scorers, SAMPLES, Sampling(STEPS, 5.5))["best"]
    assert [len(trace.scores[0]) for trace in record.traces] == [8]
    assert [size for size, _ in record.batches] == [4, 4]
    assert record.cost.forwards == len(SAMPLES) * (3 * SEARCH + 2 * STEPS)
    assert record.cost.scorer_calls == 3 * len(SAMPLES)


def test_a_search_decodes_and_scores_in_slices_and_samples_each_noise_once():
    def found(backbone, scorer):
        method = BestOfN(num_candidates=3, scorer="target", num_inference_steps=2, guidance_scale=2.0).load(
            backbone, {"target": scorer}
        )
        noise = seeding.source_noises([sample.seed for sample in SAMPLES], SHAPE)
        conditioning = backbone.encode([sample.prompt for sample in SAMPLES])
        return method(noise, conditioning, backbone, seeding.streams([sample.seed for sample in SAMPLES], "search"))

    expected = found(Device(), TargetScorer().load())
    for backbone, scorer in ((Device(decoded=3), TargetScorer().load()), (Device(decoded=4), Narrow(1))):
        result = found(backbone, scorer)
        assert torch.equal(result.noise, expected.noise)
        assert backbone.cost.forwards == len(SAMPLES) * 3 * SEARCH
        assert sum(backbone.decoded) == 3 * len(SAMPLES)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ({"denoised": 1}, r"out of memory with a single pair; .*backbone\.height, .*backbone\.dtype=float16"),
        ({"decoded": 0}, r"out of memory with a single picture to decode; .*backbone\.height"),
    ],
)
@pytest.mark.parametrize("overlaps", [False, True])
def test_what_fits_nowhere_is_said_in_one_line_that_names_the_key(device, message, overlaps):
    with pytest.raises(UserError, match=message):
        pairs(Device(**device), overlaps, batch_size=4)


def test_a_metric_that_cannot_score_one_picture_is_named():
    with pytest.raises(UserError, match=r"out of memory with a single picture to score; leave target out"):
        pairs(Device(), scorer=Narrow(0))


def test_pieces_come_in_order_and_are_as_few_as_fit():
    def compute(rows):
        if rows.stop - rows.start > 5:
            raise torch.OutOfMemoryError
        return list(range(16))[rows]

    limit = Limit("thing", "buy another")
    assert list(limit.pieces(16, compute)) == [list(range(start, start + 4)) for start in range(0, 16, 4)]
    assert limit.most == limit.smallest == 4
    assert [len(piece) for piece in limit.pieces(3, compute)] == [3]


def test_room_is_made_before_a_piece_is_halved():
    full = [True]

    def compute(rows):
        if full:
            raise torch.OutOfMemoryError
        return rows.stop - rows.start

    limit = Limit("thing", "buy another")
    assert list(limit.pieces(8, compute, make_room=lambda: bool(full and full.pop()))) == [8]
    assert limit.most is None


def test_a_batch_that_does_not_fit_beside_another_is_whole_once_that_one_is_done():
    class Shared(LoadedLinear):
        """Decoding and denoising do not fit at the same time."""

        decoding = threading.Event()
        tried = threading.Event()

        def decode(self, latents):
            if threading.current_thread() is not threading.main_thread():
                self.decoding.set()
                self.tried.wait(timeout=10)
                self.decoding.clear()
            return super().decode(latents)

        def evaluate(self, *arguments):
            if self.cost.forwards == 4 * 17 and not self.tried.is_set():
                self.decoding.wait(timeout=10)
                self.tried.set()
                raise torch.OutOfMemoryError
            return super().evaluate(*arguments)

    made, found = pairs(Shared(LinearBackbone(device="cpu")), overlaps=True, batch_size=4)
    assert [len(part.samples) for part in found] == [4, 4]
    assert made.backbone.cost.forwards == 17 * len(SAMPLES)
    assert not made.pipeline.overlaps
    same(found, pairs(Device())[1])


def test_an_evaluation_scores_beside_the_denoising_with_the_same_results_and_counts():
    def records(overlaps):
        backbone, scorers = linear(device="cpu"), {"target": TargetScorer().load()}
        methods = load_methods({"standard": Standard(), "best": BestOf(), "inversion": inversion()}, backbone, scorers)
        evaluator = Evaluator(backbone, methods, scorers, Sampling(STEPS, 5.5), batch_size=3)
        evaluator.pipeline.overlaps = overlaps
        seen = []
        found = evaluator.run(SAMPLES, watch=lambda count, _: seen.append(count))
        assert seen == [3, 6, 8]
        return found

    serial, overlapped = records(False), records(True)
    for label, record in serial.items():
        assert overlapped[label].scores == record.scores
        assert overlapped[label].cost == record.cost
        assert overlapped[label].traces == record.traces
