import math
import sys

import pytest
import torch

from npnet import seeding
from npnet.data.prompts import Sample
from npnet.engine.batches import Kept, Sampling
from npnet.engine.methods import evaluate_methods
from npnet.noise import Inversion, Standard, load_methods
from npnet.noise.runtime.standard import LoadedStandard
from tests.evaluation.extra_fakes import PROMPTS, BestOf, Close
from tests.fakes import Redraw, TargetScorer, linear

SAMPLES = [Sample(index, prompt, 10 + index) for index, prompt in enumerate(PROMPTS)]
SAMPLING = Sampling(num_inference_steps=3, guidance_scale=2.0)
MIB = 2**20


def parts(candidates=3):
    backbone = linear(device="cpu")
    metrics = {"target": TargetScorer().load(), "close": Close().load()}
    inversion = Inversion(guidance_scale=3.0, inversion_guidance_scale=1.0, num_inference_steps=3)
    methods = {"standard": Standard(), "inversion": inversion, "redraw": Redraw(), "best": BestOf(candidates)}
    methods = load_methods(methods, backbone, metrics)
    return backbone, methods, metrics


def test_the_size_of_a_batch_changes_no_score():
    whole = evaluate_methods(*parts(), SAMPLES, SAMPLING, batch_size=64)
    pieces = evaluate_methods(*parts(), SAMPLES, SAMPLING, batch_size=5)
    for label, record in whole.items():
        for name, scores in record.scores.items():
            assert pieces[label].scores[name] == pytest.approx(scores, rel=1e-5, abs=1e-7), (label, name)
        assert pieces[label].cost == record.cost


def test_the_order_of_the_samples_changes_no_score():
    forth = evaluate_methods(*parts(), SAMPLES, SAMPLING, batch_size=5)
    back = evaluate_methods(*parts(), SAMPLES[::-1], SAMPLING, batch_size=5)
    for label, record in forth.items():
        assert back[label].scores["target"][::-1] == pytest.approx(record.scores["target"], rel=1e-5, abs=1e-7)


def test_what_a_method_costs_does_not_depend_on_who_runs_beside_it():
    backbone, methods, metrics = parts()
    together = evaluate_methods(backbone, methods, metrics, SAMPLES, SAMPLING, batch_size=5)
    for label in methods:
        backbone, others, metrics = parts()
        alone = evaluate_methods(backbone, {label: others[label]}, metrics, SAMPLES, SAMPLING, batch_size=5)
        assert alone[label].cost == together[label].cost
        assert alone[label].scores == together[label].scores


def test_the_measured_cost_is_the_documented_one_and_includes_the_sampling():
    records = evaluate_methods(*parts(candidates=3), SAMPLES, SAMPLING, batch_size=5)
    count, sampling = len(SAMPLES), 2 * 3  # a guided step of one picture is two forwards
    assert records["standard"].cost.forwards == count * sampling
    assert records["inversion"].cost.forwards == count * (sampling + 3)
    assert records["best"].cost.forwards == count * (sampling + 3 * 4)
    assert [records[label].cost.scorer_calls for label in ("standard", "best")] == [0, 3 * count]
    assert all(record.cost.backwards == 0 for record in records.values())
    assert [size for size, _ in records["standard"].batches] == [5, 5, 2]
    assert all(seconds > 0 for record in records.values() for _, seconds in record.batches)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the CPU's peak is read from /proc")
def test_the_peak_memory_of_a_method_is_its_own():
    class LoadedHungry(LoadedStandard):
        def __call__(self, noise, *others):
            torch.ones(64 * MIB).sum()  # 256 MiB of float32, gone afterwards
            return super().__call__(noise, *others)

    class Hungry(Standard):
        runtime = LoadedHungry

    backbone, _, metrics = parts()
    methods = {"before": Standard(), "hungry": Hungry(), "after": Standard()}
    methods = load_methods(methods, backbone, metrics)
    records = evaluate_methods(backbone, methods, metrics, SAMPLES, SAMPLING)
    peaks = {label: record.peak_bytes / MIB for label, record in records.items()}
    assert 240 < peaks["hungry"] - peaks["before"] < 300
    assert abs(peaks["after"] - peaks["before"]) < 30


def test_where_the_peak_cannot_be_reset_it_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr("npnet.engine.measure.PROCESS", tmp_path / "absent")
    backbone, methods, metrics = parts()
    records = evaluate_methods(backbone, {"standard": methods["standard"]}, metrics, SAMPLES[:1], SAMPLING)
    assert records["standard"].peak_bytes is None


def test_every_prompt_is_encoded_once_for_all_methods():
    backbone, methods, metrics = parts()
    evaluate_methods(backbone, methods, metrics, [*SAMPLES, *SAMPLES], SAMPLING, batch_size=5)
    assert backbone.encoded == PROMPTS


def test_standard_pictures_are_those_of_the_seed_alone():
    backbone, _, metrics = parts()
    kept = {}

    def take(label, sample, image):
        kept[sample.seed] = image

    floats = Kept(form=torch.Tensor.cpu)
    methods = {"standard": Standard().load(backbone)}
    evaluate_methods(backbone, methods, metrics, SAMPLES[:2], SAMPLING, kept=floats, take=take)
    noise = seeding.source_noise(SAMPLES[1].seed, backbone.latent_shape())[None]
    latents = backbone.sample(noise, backbone.encode([SAMPLES[1].prompt]), 3, 2.0)
    assert torch.allclose(kept[SAMPLES[1].seed], backbone.decode(latents)[0], atol=1e-6)


def test_a_picture_that_is_not_finite_is_a_missing_score_and_spoils_no_other():
    def scores_of(samples):
        backbone, methods, metrics = parts()
        standard = {"standard": methods["standard"]}
        return evaluate_methods(backbone, standard, metrics, samples, SAMPLING)["standard"].scores

    spoilt = scores_of([SAMPLES[0], Sample(1, "a NaN cup", 3), SAMPLES[2]])
    clean = scores_of([SAMPLES[0], SAMPLES[2]])
    for name in ("target", "close"):
        assert math.isnan(spoilt[name][1])
        assert [spoilt[name][0], spoilt[name][2]] == pytest.approx(clean[name], rel=1e-5)


def test_the_trace_of_a_search_never_falls():
    record = evaluate_methods(*parts(), SAMPLES, SAMPLING, batch_size=5)["best"]
    assert [len(trace.scores[0]) for trace in record.traces] == [5, 5, 2]
    for trace in record.traces:
        assert trace.forwards == [4.0, 8.0, 12.0]
        assert all(
            later >= earlier
            for a, b in zip(trace.scores, trace.scores[1:], strict=False)
            for earlier, later in zip(a, b, strict=True)
        )


def test_reports_follow_the_batches():
    seen = []
    evaluate_methods(*parts(), SAMPLES, SAMPLING, batch_size=5, watch=lambda count, records: seen.append(count))
    assert seen == [5, 10, 12]
