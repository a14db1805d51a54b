import pytest
import torch

from npnet import seeding
from npnet.errors import UserError
from npnet.noise import Inversion, Standard
from npnet.noise.runtime.inversion import redenoise, redenoise_gain
from tests import families, tiny

PROMPTS = ["a cat", "two dogs"]


@pytest.fixture(scope="module")
def backbone():
    return tiny.sdxl()


def noise_of(backbone, dtype=torch.float32):
    return seeding.source_noises([1, 2], backbone.latent_shape()).to(dtype)


def constant_predictions(monkeypatch, backbone, conditional, unconditional):
    """Make the denoiser answer the same at every state and level."""

    def evaluate(latents, label, conditioning, unconditional_too):
        count = len(latents)
        backbone.labels.append(label)
        return conditional[:count], unconditional[:count] if unconditional_too else None

    backbone.labels = []
    monkeypatch.setattr(backbone, "evaluate", evaluate)


@pytest.mark.parametrize(("steps", "gain"), [(4, -0.58847), (10, -0.38535), (50, -0.10977)])
def test_the_gain_is_the_published_schedules(backbone, steps, gain):
    here, there = backbone.steps(steps)[0]
    assert redenoise_gain(backbone, here, there) == pytest.approx(gain, abs=1e-5)


@pytest.mark.parametrize("steps", [4, 10, 30, 50])
def test_redenoise_is_theorem_e1_in_double_precision(monkeypatch, backbone, steps):
    noise = noise_of(backbone, torch.float64)
    generator = seeding.stream(0, "predictions")
    cond, uncond = (torch.randn(noise.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    constant_predictions(monkeypatch, backbone, cond, uncond)
    golden, _ = redenoise(
        backbone,
        noise,
        backbone.encode(PROMPTS),
        num_inference_steps=steps,
        guidance_scale=5.5,
        inversion_guidance_scale=1.0,
    )
    here, there = backbone.steps(steps)[0]
    (a0, s0), (a1, s1) = backbone.coefficients(here), backbone.coefficients(there)
    k = (a0 * s1 - a1 * s0) / a1
    assert k < 0
    assert (golden - (noise + k * (5.5 - 1.0) * (cond - uncond))).abs().max() < 1e-12


def test_equal_guidance_and_a_constant_prediction_is_the_identity(monkeypatch, backbone):
    noise = noise_of(backbone, torch.float64)
    constant_predictions(monkeypatch, backbone, torch.ones_like(noise), torch.zeros_like(noise))
    golden, _ = redenoise(
        backbone,
        noise,
        backbone.encode(PROMPTS),
        num_inference_steps=10,
        guidance_scale=3.0,
        inversion_guidance_scale=3.0,
    )
    assert (golden - noise).abs().max() < 1e-12


def test_redenoise_equals_the_two_steps_it_stands_for(backbone):
    noise, c = noise_of(backbone), backbone.encode(PROMPTS)
    golden, _ = redenoise(backbone, noise, c, num_inference_steps=10, guidance_scale=5.5, inversion_guidance_scale=1.0)
    here, there = backbone.steps(10)[0]
    lower = backbone.move(noise, backbone.predict(noise, here, c, 5.5), here, there)
    back = backbone.move(lower, backbone.predict(lower, there, c, 1.0, label=here), there, here)
    assert torch.allclose(golden, back, atol=1e-5)


@pytest.mark.parametrize(("time_label", "labels"), [("destination", [901, 901]), ("source", [901, 801])])
def test_the_network_is_told_the_configured_time(monkeypatch, backbone, time_label, labels):
    noise = noise_of(backbone)
    constant_predictions(monkeypatch, backbone, torch.ones_like(noise), torch.zeros_like(noise))
    redenoise(
        backbone,
        noise,
        backbone.encode(PROMPTS),
        num_inference_steps=10,
        guidance_scale=5.5,
        inversion_guidance_scale=1.0,
        time_label=time_label,
    )
    assert backbone.labels == labels


@pytest.mark.parametrize("cycles", [1, 2])
@pytest.mark.parametrize("inversion_guidance_scale", [1.0, 2.0])
def test_the_documented_cost_is_the_measured_one(backbone, cycles, inversion_guidance_scale):
    method = Inversion(5.5, inversion_guidance_scale, 10, cycles=cycles)
    before = backbone.cost
    method.load(backbone)(noise_of(backbone), backbone.encode(PROMPTS), backbone, [])
    assert (backbone.cost - before).forwards == 2 * method.forwards(backbone)


def test_first_branches_belong_to_the_noise_that_was_given(backbone):
    noise, c = noise_of(backbone), backbone.encode(PROMPTS)
    result = Inversion(5.5, 1.0, 10, cycles=2).load(backbone)(noise, c, backbone, [])
    expected = backbone.predict_branches(noise, backbone.timesteps(10)[0], c)
    assert torch.equal(result.first_branches.conditional, expected.conditional)
    assert torch.equal(result.first_branches.unconditional, expected.unconditional)


def test_two_cycles_are_one_cycle_twice(backbone):
    noise, c = noise_of(backbone), backbone.encode(PROMPTS)
    one, two = (Inversion(5.5, 1.0, 10, cycles=n).load(backbone) for n in (1, 2))
    assert torch.equal(two(noise, c, backbone, []).noise, one(one(noise, c, backbone, []).noise, c, backbone, []).noise)


@pytest.mark.parametrize("name", ["sd3", "flux_true_cfg", "wan", "voxels"])
@pytest.mark.parametrize("steps", [4, 10, 30, 50])
def test_a_flow_model_takes_the_euler_form(monkeypatch, name, steps):
    backbone = families.built(name)
    noise = noise_of(backbone, torch.float64)
    generator = seeding.stream(0, "predictions")
    cond, uncond = (torch.randn(noise.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    constant_predictions(monkeypatch, backbone, cond, uncond)
    settings = {"num_inference_steps": steps, "guidance_scale": 5.5, "inversion_guidance_scale": 1.0}
    golden, _ = redenoise(backbone, noise, backbone.encode(PROMPTS), **settings)
    here, there = backbone.steps(steps)[0]
    stride = backbone.coefficients(here).sigma - backbone.coefficients(there).sigma
    assert backbone.step_coefficients(here, there) == (1.0, -stride)
    assert 0 < stride < 0.6
    assert (golden - (noise - stride * (5.5 - 1.0) * (cond - uncond))).abs().max() < 1e-12
    assert backbone.labels == [here, here]
    redenoise(backbone, noise, backbone.encode(PROMPTS), **settings, time_label="source")
    assert backbone.labels[2:] == [here, there]


@pytest.mark.parametrize("name", families.GUIDED)
def test_in_every_family_the_closed_form_is_the_step_there_and_back(name):
    backbone = families.built(name)
    noise, c = noise_of(backbone), backbone.encode(families.prompts_for(backbone))
    method = Inversion(5.5, 1.0, 4).load(backbone)
    assert families.spent(backbone, lambda: method(noise, c, backbone, [])) == 2 * method.method.forwards(backbone)
    golden = method(noise, c, backbone, []).noise
    here, there = backbone.steps(4)[0]
    lower = backbone.move(noise, backbone.predict(noise, here, c, 5.5), here, there)
    back = backbone.move(lower, backbone.predict(lower, there, c, 1.0, label=here), there, here)
    assert golden.shape == noise.shape and golden.dtype == noise.dtype
    assert torch.allclose(golden, back, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(golden, noise, atol=1e-3)


def test_standard_returns_what_it_got(backbone):
    noise = noise_of(backbone)
    assert Standard().load(backbone)(noise, backbone.encode(PROMPTS), backbone, []).noise is noise


def test_bad_values_are_refused():
    with pytest.raises(UserError, match="cycles=0"):
        Inversion(5.5, 1.0, 10, cycles=0)
    with pytest.raises(UserError, match="time_label=target: allowed: destination, source"):
        Inversion(5.5, 1.0, 10, time_label="target")
