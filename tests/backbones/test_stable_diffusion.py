import pytest
import torch

from npnet import seeding
from npnet.backbones import END, samplers
from npnet.errors import UserError
from npnet.records import Branches
from tests import tiny

PROMPTS = ["a cat", "two dogs"]


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def backbone(request):
    return tiny.sdxl(request.param)


@pytest.fixture(scope="module")
def noise(backbone):
    return seeding.source_noises([3, 4], backbone.latent_shape())


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def spent(backbone, function):
    before = backbone.cost
    function()
    return (backbone.cost - before).forwards


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [3, 4])
def test_our_loop_gives_the_latents_of_the_diffusers_pipeline(prediction_type, spacing, steps):
    backbone = tiny.sdxl(prediction_type, timestep_spacing=spacing)
    noise = seeding.source_noises([3, 4], backbone.latent_shape())
    ours = backbone.sample(noise, backbone.encode(PROMPTS), steps, 5.5)
    theirs = backbone.pipeline(
        PROMPTS,
        latents=noise.clone(),
        num_inference_steps=steps,
        guidance_scale=5.5,
        output_type="latent",
        height=64,
        width=64,
    ).images
    assert torch.allclose(ours, theirs, atol=2e-5, rtol=1e-5)


def test_source_noise_is_what_diffusers_draws_for_that_seed(backbone):
    theirs = backbone.pipeline.prepare_latents(
        1, 4, 64, 64, torch.float32, torch.device("cpu"), torch.Generator("cpu").manual_seed(3), None
    )
    assert torch.equal(theirs[0], seeding.source_noise(3, backbone.latent_shape()))


def test_moving_there_and_back_with_one_prediction_is_the_identity(backbone, noise):
    prediction = backbone.predict(noise, 901, backbone.encode(PROMPTS), 3.0)
    for here, there in backbone.steps(10):
        back = backbone.move(backbone.move(noise, prediction, here, there), prediction, there, here)
        assert torch.allclose(back, noise, atol=2e-4)


def test_coefficients_are_the_schedulers(backbone):
    products = backbone.pipeline.scheduler.alphas_cumprod.double()
    for level in (901, 501, 1):
        alpha, sigma = backbone.coefficients(level)
        assert alpha**2 == pytest.approx(float(products[level]), rel=1e-12)
        assert alpha**2 + sigma**2 == pytest.approx(1.0, rel=1e-12)
    assert backbone.coefficients(END) == backbone.coefficients(0)


def test_guidance_one_runs_no_unconditional_half(backbone, noise):
    c = backbone.encode(PROMPTS)
    assert spent(backbone, lambda: backbone.sample(noise, c, 4, 1.0)) == 2 * 4
    assert spent(backbone, lambda: backbone.sample(noise, c, 4, 5.5)) == 2 * 4 * 2


def test_guidance_is_affine_in_its_scale(backbone, noise):
    c = backbone.encode(PROMPTS)
    at = {scale: backbone.predict(noise, 501, c, scale) for scale in (1.0, 2.0, 4.0)}
    assert torch.allclose(at[4.0] - at[1.0], 3 * (at[2.0] - at[1.0]), atol=1e-4)


def test_branches_computed_before_change_nothing_but_the_cost(backbone, noise):
    c = backbone.encode(PROMPTS)
    first = backbone.predict_branches(noise, backbone.timesteps(4)[0], c)
    plain = backbone.sample(noise, c, 4, 5.5)
    before = backbone.cost
    shared = backbone.sample(noise, c, 4, 5.5, first_branches=first)
    assert (backbone.cost - before).forwards == 2 * 3 * 2
    assert torch.equal(plain, shared)
    leading = Branches(first.timestep, first.conditional[:1], first.unconditional[:1])
    assert torch.allclose(backbone.sample(noise, c, 4, 5.5, first_branches=leading), plain, atol=1e-5)


def test_branches_of_another_level_are_not_used(backbone, noise):
    c = backbone.encode(PROMPTS)
    wrong = backbone.predict_branches(noise, 501, c)
    assert torch.equal(backbone.sample(noise, c, 4, 5.5, first_branches=wrong), backbone.sample(noise, c, 4, 5.5))


def test_given_timesteps_equal_to_the_spacing_change_nothing(backbone, noise):
    c = backbone.encode(PROMPTS)
    levels = backbone.timesteps(4)
    assert torch.equal(backbone.sample(noise, c, 4, 3.0, timesteps=levels), backbone.sample(noise, c, 4, 3.0))


def test_x0_epsilon_and_velocity_agree_with_their_definitions(backbone, noise):
    prediction = backbone.predict(noise, 501, backbone.encode(PROMPTS), 1.0)
    alpha, sigma = backbone.coefficients(501)
    x0 = backbone.to_x0(prediction, noise, 501)
    assert torch.allclose(alpha * x0 + sigma * backbone.to_epsilon(prediction, noise, 501), noise, atol=1e-5)
    assert torch.allclose(backbone.to_velocity(prediction, noise, 501), prediction - x0)


def test_a_batch_is_its_singles(backbone, noise):
    c = backbone.encode(PROMPTS)
    whole = backbone.sample(noise, c, 4, 5.5)
    for index in range(2):
        single = backbone.sample(noise[index : index + 1], c[index : index + 1], 4, 5.5)
        assert torch.allclose(single, whole[index : index + 1], atol=1e-4)


def test_a_prompt_is_encoded_the_same_alone_twice_and_in_a_batch(backbone):
    both = backbone.encode(["a cat", "two dogs", "a cat"])
    alone = backbone.encode(["a cat"])
    assert torch.equal(both.prompt_embeds[0], both.prompt_embeds[2])
    assert torch.allclose(both.prompt_embeds[:1], alone.prompt_embeds, atol=1e-5)
    assert backbone.embed_dims() == {
        "prompt_embed_dim": both.prompt_embeds.shape[2],
        "prompt_length": both.prompt_embeds.shape[1],
        "pooled_embed_dim": both.pooled_prompt_embeds.shape[1],
    }


def test_pictures_lie_in_the_unit_range_at_other_sizes_and_carry_gradients(backbone):
    with torch.enable_grad():
        latents = torch.randn(1, *backbone.latent_shape(64, 96), requires_grad=True)
        images = backbone.decode(latents)
        images.sum().backward()
    assert images.shape == (1, 3, 64, 96)
    assert images.min() >= 0 and images.max() <= 1
    assert latents.grad.abs().sum() > 0


def test_backward_passes_through_the_denoiser_are_counted(backbone, noise):
    with torch.enable_grad():
        latents = noise.clone().requires_grad_()
        before = backbone.cost
        backbone.predict(latents, 501, backbone.encode(PROMPTS), 3.0).sum().backward()
    assert (backbone.cost - before).backwards == 4


@pytest.mark.parametrize("sampler", list(samplers.SAMPLERS))
def test_every_sampler_is_repeatable_given_generators(sampler):
    backbone = tiny.sdxl()
    noise = seeding.source_noises([3, 4], backbone.latent_shape())
    c = backbone.encode(PROMPTS)
    runs = [
        backbone.sample(noise, c, 3, 3.0, sampler=sampler, generators=seeding.streams([3, 4], "sampler"))
        for _ in range(2)
    ]
    assert torch.isfinite(runs[0]).all()
    assert torch.equal(*runs)


def test_the_ddim_sampler_is_the_default_rule(backbone, noise):
    c = backbone.encode(PROMPTS)
    assert torch.allclose(
        backbone.sample(noise, c, 4, 3.0, sampler="ddim"), backbone.sample(noise, c, 4, 3.0), atol=2e-5, rtol=1e-5
    )


def test_bad_requests_are_refused_by_name(tmp_path):
    backbone = tiny.sdxl()
    with pytest.raises(UserError, match="height=63"):
        backbone.latent_shape(63, 64)
    with pytest.raises(UserError, match="num_inference_steps=0"):
        backbone.steps(0)
    with pytest.raises(UserError, match=r"sampler 'dimm' is not known \(did you mean 'ddim'"):
        samplers.check_sampler("dimm")
    backbone.path = str(tmp_path)
    with pytest.raises(UserError, match="model_index.json is missing"):
        backbone.check()
