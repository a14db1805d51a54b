"""Laws of semantic erasure and injection."""

import math

import pytest
import torch

from npnet import seeding
from npnet.errors import UserError
from npnet.noise import ErasureInjection, SemanticErasure
from npnet.noise.runtime.erasure_injection import aggregate, inject
from npnet.noise.runtime.semantic_erasure import erase, renormalise
from tests import tiny
from tests.noise import linear

STEPS, SCALE = 10, 3.0


@pytest.fixture(params=["variance_preserving", "flow"])
def backbone(request):
    return linear.of_kind(request.param)


def generators(seeds=(1, 2)):
    return seeding.streams(seeds, "erasure")


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(method, backbone, dtype=torch.float32):
    noise = linear.noise_of(backbone, dtype=dtype)
    return noise, method.load(backbone)(noise, backbone.encode(linear.PROMPTS), backbone, generators()).noise


# --- erasure ---------------------------------------------------------------------------------------------------------


def test_one_noise_is_the_identity(backbone):
    noise, erased = run(SemanticErasure(1), backbone)
    assert torch.equal(erased, noise)


@pytest.mark.parametrize("num_noises", [2, 8, 32])
def test_erasure_keeps_the_variance_and_is_normal(num_noises):
    noise = draw(2, 4, 64, 64)
    erased = erase(noise, generators(), num_noises).flatten(1)
    assert torch.allclose(erased.var(1), torch.ones(2), atol=0.05)
    assert torch.allclose(erased.mean(1), torch.zeros(2), atol=0.04)
    assert torch.allclose((erased**4).mean(1), 3 * torch.ones(2), atol=0.3)


@pytest.mark.parametrize("num_noises", [2, 8])
def test_erasure_is_the_sum_over_the_root_of_n(num_noises):
    noise, drawn = draw(2, 4, 8, 8), generators()
    total = noise + sum(seeding.randn_like(noise, drawn) for _ in range(num_noises - 1))
    assert torch.allclose(erase(noise, generators(), num_noises), total / math.sqrt(num_noises), atol=1e-6)


def test_what_is_left_of_the_given_noise_is_one_part_in_root_n():
    noise = draw(1, 4, 128, 128)
    erased = erase(noise, generators([1]), 16)
    assert torch.corrcoef(torch.stack([noise.flatten(), erased.flatten()]))[0, 1] == pytest.approx(1 / 4, abs=0.02)


def test_erasure_knows_nothing_of_the_prompt():
    backbone = linear.of_kind()
    noise = linear.noise_of(backbone)
    one, other = (
        SemanticErasure(8).load(backbone)(noise, backbone.encode(prompts), backbone, generators()).noise
        for prompts in (linear.PROMPTS, linear.PROMPTS[::-1])
    )
    assert torch.equal(one, other)


def test_renormalised_noise_has_the_size_that_was_asked():
    noise = 3 * draw(2, 4, 8, 8) + 1
    assert torch.allclose(renormalise(noise, "norm").flatten(1).norm(dim=1), torch.full((2,), 16.0))
    standard = renormalise(noise, "std").flatten(1)
    assert torch.allclose(standard.std(1, correction=0), torch.ones(2))
    assert torch.allclose(standard.mean(1), torch.zeros(2), atol=1e-6)
    assert renormalise(noise, "none") is noise


# --- injection -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.01, 3.0, 250.0])
def test_aggregation_ignores_a_common_factor_of_the_weights(scale):
    predictions, weights = [draw(2, 4, seed=i) for i in range(3)], (1.0, 2.0, 0.5)
    scaled = aggregate(predictions, [scale * weight for weight in weights])
    assert torch.allclose(scaled, aggregate(predictions, weights), atol=1e-6)


def test_independent_predictions_of_unit_variance_keep_it():
    z, *predictions = (draw(1, 100_000, seed=i) for i in range(4))
    semantics = aggregate(predictions, (1.0, 2.0, 3.0))
    assert semantics.std() == pytest.approx(1, abs=0.01)
    assert inject(z, semantics, 0.8).std() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("delta", "expected"), [(0.1, 1.167), (0.8, 1.86)])
def test_equal_predictions_in_line_with_the_noise_do_not(delta, expected):
    z = draw(1, 100_000)
    semantics = aggregate([z, z, z], (1.0, 1.0, 1.0))
    assert semantics.std() == pytest.approx(1.73, abs=0.02)
    injected = inject(z, semantics, delta)
    assert injected.std() == pytest.approx(expected, abs=0.01)
    assert renormalise(injected, "std").std() == pytest.approx(1, abs=1e-3)


def test_delta_of_zero_and_one_noise_is_the_identity_and_costs_nothing(backbone):
    method = ErasureInjection(STEPS, SCALE, 1, delta=0.0, renormalise="none")
    before = backbone.cost
    noise, result = run(method, backbone)
    assert torch.equal(result, noise)
    assert backbone.cost == before
    assert method.forwards(backbone) == 0


def test_delta_of_zero_is_semantic_erasure(backbone):
    _, injected = run(ErasureInjection(STEPS, SCALE, 8, delta=0.0, renormalise="none"), backbone)
    assert torch.equal(injected, run(SemanticErasure(8), backbone)[1])


@pytest.mark.parametrize("delta", [-0.4, 0.1, 0.8])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.5])
@pytest.mark.parametrize("prediction", ["epsilon", "velocity"])
def test_on_a_linear_model_the_result_is_the_closed_form(backbone, delta, guidance_scale, prediction):
    method = ErasureInjection(
        STEPS, guidance_scale, 4, delta, (0.0, 0.5, 1.0), (1.0, 2.0, 0.5), prediction, renormalise="none"
    )
    noise, result = run(method, backbone, torch.float64)
    z = erase(noise.float(), generators(), 4).double()
    cond = backbone.encode(linear.PROMPTS).prompt_embeds.view_as(z).double()
    total = torch.zeros_like(z)
    for position, weight in zip((0.0, 0.5, 1.0), (1.0, 2.0, 0.5), strict=True):
        level = backbone.timesteps(STEPS)[round(position * (STEPS - 1))]
        alpha, sigma = backbone.coefficients(level)
        spread = alpha**2 * 0.5**2 + sigma**2
        epsilon = sigma * (z - alpha * guidance_scale * cond) / spread
        # of the velocity: epsilon minus what epsilon says of the clean latents
        total += weight * (epsilon if prediction == "epsilon" else epsilon - (z - sigma * epsilon) / alpha_of(alpha))
    expected = (z + delta * total / math.sqrt(1 + 4 + 0.25)) / math.sqrt(1 + delta**2)
    if backbone.kind == "flow" and prediction == "velocity":
        expected = flow_velocity_result(backbone, z, cond, guidance_scale, delta)
    assert torch.allclose(result.double(), expected, rtol=1e-4, atol=1e-4)


def alpha_of(alpha):
    return alpha or math.inf


def flow_velocity_result(backbone, z, cond, guidance_scale, delta):
    """The same with the model's own velocity, which has no singularity at t = 1."""
    total = torch.zeros_like(z)
    for position, weight in zip((0.0, 0.5, 1.0), (1.0, 2.0, 0.5), strict=True):
        t = backbone.timesteps(STEPS)[round(position * (STEPS - 1))]
        alpha, sigma = 1 - t, t
        mean = guidance_scale * cond
        residual = (z - alpha * mean) / (alpha**2 * 0.25 + sigma**2)
        total += weight * (sigma * residual - (mean + alpha * 0.25 * residual))
    return (z + delta * total / math.sqrt(5.25)) / math.sqrt(1 + delta**2)


def test_every_prediction_is_of_the_same_noise(monkeypatch, backbone):
    seen, evaluate = [], type(backbone).evaluate

    def watch(self, latents, label, *args):
        seen.append((latents, label))
        return evaluate(self, latents, label, *args)

    monkeypatch.setattr(type(backbone), "evaluate", watch)
    method = ErasureInjection(STEPS, 1.0, 4, 0.3, (0.0, 0.5, 1.0))
    noise, _ = run(method, backbone)
    erased = erase(noise, generators(), 4)
    assert [label for _, label in seen] == [backbone.timesteps(STEPS)[i] for i in (0, 4, 9)]
    assert all(torch.equal(latents, erased) for latents, _ in seen)


def test_a_position_stands_for_the_nearest_level(backbone):
    method = ErasureInjection(STEPS, SCALE, 4, 0.3, (0.05, 0.06, 0.2, 0.75, 1.0), (1.0,) * 5)
    levels = backbone.timesteps(STEPS)
    assert method.load(backbone).levels(backbone) == [levels[place] for place in (0, 1, 2, 7, 9)]


@pytest.mark.parametrize(("guidance_scale", "branches"), [(1.0, 1), (3.0, 2)])
def test_the_cost_is_one_evaluation_for_each_level(backbone, guidance_scale, branches):
    method = ErasureInjection(STEPS, guidance_scale, 4, 0.3, (0.0, 1.0))
    before = backbone.cost
    run(method, backbone)
    assert (backbone.cost - before).forwards == 2 * 2 * branches == 2 * method.forwards(backbone)


def test_checkpoints_that_predict_v_are_served():
    backbone = tiny.sdxl("v_prediction")
    noise = seeding.source_noises([1, 2], backbone.latent_shape())
    conditioning = backbone.encode(linear.PROMPTS)
    method = ErasureInjection(STEPS, 1.0, 1, 0.5, (0.5,), renormalise="none").load(backbone)
    result = method(noise, conditioning, backbone, generators())
    level = backbone.timesteps(STEPS)[4]
    output, _ = backbone.evaluate(noise, level, conditioning, unconditional=False)
    alpha, sigma = backbone.coefficients(level)
    expected = (noise + 0.5 * (alpha * output + sigma * noise)) / math.sqrt(1.25)
    assert torch.allclose(result.noise, expected, atol=1e-5)


@pytest.mark.parametrize("how", ["norm", "std"])
def test_renormalised_results_have_unit_size(backbone, how):
    _, result = run(ErasureInjection(STEPS, SCALE, 1, 0.8, (0.0, 0.5, 1.0), renormalise=how), backbone)
    assert torch.allclose(result.square().flatten(1).mean(1), torch.ones(2), atol=1e-5)
    if how == "std":
        assert torch.allclose(result.flatten(1).var(1), torch.ones(2), atol=0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_noises": 0}, "num_noises=0"),
        ({"positions": [1.5]}, r"positions\[0\]=1.5"),
        ({"positions": []}, "positions="),
        ({"positions": [0.0, 1.0], "weights": [1.0]}, "one for each of the 2 positions"),
        ({"weights": [0.0]}, r"weights=\[0.0\]"),
        ({"prediction": "eps"}, "prediction=eps: did you mean 'epsilon'. allowed: epsilon, velocity"),
        ({"renormalise": "mean"}, "renormalise=mean: allowed: none, norm, std"),
    ],
)
def test_values_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        ErasureInjection(STEPS, SCALE, **changes)
