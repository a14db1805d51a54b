"""What every family does, on tiny models; every further family is one name in ``tiny.FAMILIES``."""

import diffusers
import pytest
import torch

from npnet import seeding
from npnet.backbones import END, samplers
from npnet.backbones.runtime import flow
from npnet.errors import UserError, under
from npnet.noise.runtime.inversion import redenoise
from npnet.records import Branches
from tests import tiny
from tests.families import EVERY, GUIDED, PROMPTS, SEEDS, built, noise_for, prompts_for, spent

ANYWHERE = 4.0  # a guidance scale


@pytest.fixture(params=EVERY)
def backbone(request):
    return built(request.param)


@pytest.fixture(params=GUIDED)
def guided(request):
    return built(request.param)


@pytest.fixture(params=tiny.FAMILIES)
def name(request):
    return request.param


def reference_scheduler(name, backbone):
    """Return the scheduler under which diffusers' pipeline takes the family's own deterministic step."""
    config = backbone.pipeline.scheduler.config
    if name == "dreamshaper":
        return diffusers.DPMSolverMultistepScheduler.from_config(config, solver_order=1)
    if backbone.kind == "variance_preserving":
        return diffusers.DDIMScheduler.from_config(config)
    if name == "wan":
        return diffusers.UniPCMultistepScheduler.from_config(config, solver_order=1, disable_corrector=[*range(99)])
    return backbone.pipeline.scheduler


def latents_of_diffusers(name, backbone, steps, guidance_scale):
    """Run the family's own pipeline on the seeds, noise drawn by diffusers."""
    options = {
        "num_inference_steps": steps,
        "guidance_scale": guidance_scale,
        "height": 64,
        "width": 96,
        "output_type": "latent",
        "generator": [torch.Generator("cpu").manual_seed(seed) for seed in SEEDS],
    }
    if backbone.kind == "flow":
        options["max_sequence_length"] = tiny.T5_LENGTH
    if name == "hunyuan_dit":
        options["use_resolution_binning"] = False
    if name == "flux_true_cfg":
        options |= {"true_cfg_scale": guidance_scale, "guidance_scale": 3.5, "negative_prompt": [""] * len(SEEDS)}
    if name == "wan":
        options["num_frames"] = 9
    pipeline, published = backbone.pipeline, backbone.pipeline.scheduler
    pipeline.scheduler = reference_scheduler(name, backbone)
    try:
        latents = pipeline(PROMPTS, **options)[0]
        sigmas = getattr(pipeline.scheduler, "sigmas", None)
    finally:
        pipeline.scheduler = published
    return (flow.unpack(latents, 4, 6) if name.startswith("flux") else latents), sigmas


@pytest.mark.parametrize("steps", [3, 4])
@pytest.mark.parametrize("guidance_scale", [1.0, ANYWHERE])
def test_our_loop_gives_the_latents_of_the_diffusers_pipeline(name, guidance_scale, steps):
    backbone = built(name)
    ours = backbone.sample(noise_for(backbone), backbone.encode(PROMPTS), steps, guidance_scale)
    theirs, sigmas = latents_of_diffusers(name, backbone, steps, guidance_scale)
    assert torch.allclose(ours, theirs, atol=2e-5, rtol=1e-4), (ours - theirs).abs().max()
    if backbone.kind == "flow":
        levels = [backbone.coefficients(t).sigma for t in (*backbone.timesteps(steps), END)]
        assert levels == pytest.approx(sigmas.tolist(), abs=1e-7)


def test_the_prompt_and_its_absence_both_matter(guided):
    c = guided.encode(prompts_for(guided))
    branches = guided.predict_branches(noise_for(guided), guided.timesteps(4)[0], c)
    assert (branches.conditional - branches.unconditional).abs().max() > 1e-4
    assert branches.conditional.dtype == torch.float32


def test_coefficients_are_the_schedulers():
    for name in ("sd", "sdxl_v", "hunyuan_dit"):
        backbone = built(name)
        table = backbone.pipeline.scheduler.alphas_cumprod.double()
        for level in (901, 501, 1):
            alpha, sigma = backbone.coefficients(level)
            assert alpha**2 == pytest.approx(float(table[level]), rel=1e-12)
            assert alpha**2 + sigma**2 == pytest.approx(1.0, rel=1e-12)
        assert backbone.coefficients(END) == backbone.coefficients(0)


def test_levels_fall_to_a_clean_end(backbone):
    levels = [*backbone.timesteps(4), END]
    assert levels == sorted(levels, reverse=True)
    sigmas = [backbone.coefficients(level).sigma for level in levels]
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[-1] < 0.05
    assert sigmas[0] > 0.9


@pytest.mark.parametrize("steps", [4, 10])
def test_moving_there_and_back_with_one_prediction_is_the_identity(backbone, steps):
    noise = noise_for(backbone)
    level = backbone.timesteps(steps)[0]
    prediction = backbone.predict(noise, level, backbone.encode(prompts_for(backbone)), ANYWHERE).double()
    for here, there in backbone.steps(steps):
        lower = backbone.move(noise.double(), prediction, here, there)
        assert (backbone.move(lower, prediction, there, here) - noise).abs().max() < 1e-12


def test_x0_epsilon_and_velocity_agree_with_their_definitions(backbone):
    noise, level = noise_for(backbone), backbone.timesteps(4)[1]
    prediction = backbone.predict(noise, level, backbone.encode(prompts_for(backbone)), 1.0)
    alpha, sigma = backbone.coefficients(level)
    x0, epsilon = backbone.to_x0(prediction, noise, level), backbone.to_epsilon(prediction, noise, level)
    assert torch.allclose(alpha * x0 + sigma * epsilon, noise, atol=1e-4, rtol=1e-4)
    assert torch.allclose(backbone.to_velocity(prediction, noise, level), epsilon - x0, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [4, 10, 30, 50])
def test_redenoise_is_its_closed_form_in_double_precision(guided, steps, monkeypatch):
    noise = noise_for(guided).double()
    generator = seeding.stream(0, "predictions")
    cond, uncond = (torch.randn(noise.shape, generator=generator, dtype=torch.float64) for _ in range(2))

    def branches(latents, timestep, conditioning, label=None, unconditional=True):
        return Branches(timestep, cond, uncond if unconditional else None)

    monkeypatch.setattr(guided, "predict_branches", branches)
    golden, _ = redenoise(
        guided,
        noise,
        guided.encode(prompts_for(guided)),
        num_inference_steps=steps,
        guidance_scale=5.5,
        inversion_guidance_scale=1.0,
    )
    here, there = guided.steps(steps)[0]
    (a0, s0), (a1, s1) = guided.coefficients(here), guided.coefficients(there)
    gain = s1 - s0 if guided.kind == "flow" else (a0 * s1 - a1 * s0) / a1
    assert gain < 0
    assert (golden - (noise + gain * (5.5 - 1.0) * (cond - uncond))).abs().max() < 1e-12


def test_forwards_are_counted_and_guidance_one_runs_no_unconditional_half(backbone):
    noise, c = noise_for(backbone), backbone.encode(prompts_for(backbone))
    both = 2 if "unconditional_branch" in backbone.capabilities else 1
    assert spent(backbone, lambda: backbone.sample(noise, c, 3, 1.0)) == 2 * 3
    assert spent(backbone, lambda: backbone.sample(noise, c, 3, ANYWHERE)) == 2 * 3 * both


def test_backward_passes_through_the_denoiser_are_counted(backbone):
    with torch.enable_grad():
        latents = noise_for(backbone).requires_grad_()
        before = backbone.cost
        c = backbone.encode(prompts_for(backbone))
        backbone.predict(latents, backbone.timesteps(4)[0], c, 1.0).sum().backward()
    assert (backbone.cost - before).backwards == 2
    assert latents.grad.abs().sum() > 0


def test_guidance_is_affine_in_its_scale(guided):
    noise, c, level = noise_for(guided), guided.encode(prompts_for(guided)), guided.timesteps(4)[1]
    at = {scale: guided.predict(noise, level, c, scale) for scale in (1.0, 2.0, 4.0)}
    assert torch.allclose(at[4.0] - at[1.0], 3 * (at[2.0] - at[1.0]), atol=1e-4)


def test_branches_computed_before_change_nothing_but_the_cost(guided):
    noise, c = noise_for(guided), guided.encode(prompts_for(guided))
    first = guided.predict_branches(noise, guided.timesteps(3)[0], c)
    plain = guided.sample(noise, c, 3, ANYWHERE)
    before = guided.cost
    shared = guided.sample(noise, c, 3, ANYWHERE, first_branches=first)
    assert (guided.cost - before).forwards == 2 * 2 * 2
    assert torch.equal(plain, shared)
    leading = Branches(first.timestep, first.conditional[:1], first.unconditional[:1])
    partly = guided.sample(noise, c, 3, ANYWHERE, first_branches=leading)
    assert torch.allclose(partly, plain, atol=1e-4, rtol=1e-4)


def test_branches_of_another_level_are_not_used(guided):
    noise, c = noise_for(guided), guided.encode(prompts_for(guided))
    wrong = guided.predict_branches(noise, guided.timesteps(3)[1], c)
    plain = guided.sample(noise, c, 3, ANYWHERE)
    assert torch.equal(guided.sample(noise, c, 3, ANYWHERE, first_branches=wrong), plain)


def test_a_batch_is_its_singles(backbone):
    noise, c = noise_for(backbone), backbone.encode(prompts_for(backbone))
    whole = backbone.sample(noise, c, 3, ANYWHERE)
    assert whole.shape == noise.shape and whole.dtype == torch.float32
    for index in range(2):
        single = backbone.sample(noise[index : index + 1], c[index : index + 1], 3, ANYWHERE)
        assert torch.allclose(single, whole[index : index + 1], atol=1e-4, rtol=1e-4)


def test_a_prompt_is_encoded_the_same_alone_twice_and_in_a_batch(backbone):
    first, second = prompts_for(backbone)
    both, alone = backbone.encode([first, second, first]), backbone.encode([first])
    assert both.prompts == (first, second, first)
    for key, tensor in both.tensors().items():
        assert torch.equal(tensor[0], tensor[2]), key
        assert torch.allclose(tensor[:1].float(), alone.tensors()[key].float(), atol=1e-5), key
    pooled = both.pooled_prompt_embeds
    assert backbone.embed_dims() == {
        "prompt_embed_dim": both.prompt_embeds.shape[2],
        "prompt_length": both.prompt_embeds.shape[1],
        "pooled_embed_dim": 0 if pooled is None else pooled.shape[1],
    }
    assert (both.negative_prompt_embeds is not None) == ("unconditional_branch" in backbone.capabilities)


def test_pictures_lie_in_the_unit_range_at_other_sizes_and_carry_gradients(backbone):
    if "decode" not in backbone.capabilities:
        with pytest.raises(UserError, match="renderer"):
            backbone.decode(noise_for(backbone))
        return
    latents = noise_for(backbone, 96, 64)[:1]
    with torch.enable_grad():
        images = backbone.decode(latents.requires_grad_())
        images.sum().backward()
    frames = (backbone.description.num_frames,) if latents.ndim == 5 else ()
    assert images.shape == (1, *frames, 3, 96, 64)
    assert images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert images.std() > 0
    assert latents.grad.abs().sum() > 0


def test_pictures_are_those_of_the_diffusers_pipeline(name):
    backbone = built(name)
    latents = noise_for(backbone) * 0.5
    ours = backbone.decode(latents)
    pipeline, config = backbone.pipeline, backbone.pipeline.vae.config
    if name == "wan":
        shape = (1, 16, 1, 1, 1)
        mean, std = torch.tensor(config.latents_mean).view(shape), torch.tensor(config.latents_std).view(shape)
        theirs = pipeline.video_processor.postprocess_video(pipeline.vae.decode(latents * std + mean)[0], "pt")
    else:
        shift = config.shift_factor or 0.0
        decoded = pipeline.vae.decode(latents / config.scaling_factor + shift)[0]
        theirs = pipeline.image_processor.postprocess(decoded, "pt")
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_sampling_runs_at_other_sizes(backbone):
    if backbone.kind == "flow" and backbone.pipeline is None:
        pytest.skip("one size")
    noise = noise_for(backbone, 96, 64)[:1]
    latents = backbone.sample(noise, backbone.encode(prompts_for(backbone)[:1]), 2, ANYWHERE)
    assert latents.shape == noise.shape
    assert torch.isfinite(latents).all()


def test_given_levels_equal_to_the_spacing_change_nothing(backbone):
    noise, c = noise_for(backbone), backbone.encode(prompts_for(backbone))
    levels = backbone.timesteps(3)
    assert torch.equal(backbone.sample(noise, c, 3, 2.0, timesteps=levels), backbone.sample(noise, c, 3, 2.0))


def test_impossible_requests_are_refused_by_name(backbone):
    with pytest.raises(UserError, match="num_inference_steps=0"):
        backbone.steps(0)
    if backbone.pipeline is not None:
        said = r"backbone.height=65: a whole number that is a positive multiple of \d+ is needed"
        with pytest.raises(UserError, match=said), under("backbone"):
            backbone.latent_shape(65, 64)
    if backbone.kind == "flow":
        with pytest.raises(
            UserError, match="sampler=ddim: .* is a flow-matching model; allowed there: sampler=default"
        ):
            backbone.sample(noise_for(backbone), backbone.encode(prompts_for(backbone)), 3, 1.0, sampler="ddim")
        with pytest.raises(UserError, match="sampler=ddim"):
            samplers.check_sampler("ddim", backbone)
    else:
        samplers.check_sampler("ddim", backbone)


def test_a_method_that_needs_two_branches_is_refused_where_guidance_is_distilled():
    with pytest.raises(
        UserError, match="noise.inversion needs unconditional_branch, which Flux does not have .*true_cfg"
    ):
        built("flux").require(("unconditional_branch",), "noise.inversion")
    built("flux_true_cfg").require(("unconditional_branch",), "noise.inversion")
    built("wan").require(("unconditional_branch",), "noise.inversion")
    with pytest.raises(UserError, match="cross_attention_maps, which StableDiffusion3 does not have"):
        built("sd3").require(("cross_attention_maps",), "noise.initno")
    with pytest.raises(UserError, match="decode, which Voxels does not have"):
        built("voxels").require(("decode",), "noise.reno")


def test_embedded_guidance_is_what_the_network_reads():
    backbone = built("flux")
    noise, c, level = noise_for(backbone), backbone.encode(PROMPTS), backbone.timesteps(3)[0]
    weak, strong = (backbone.predict(noise, level, c, scale) for scale in (1.0, 7.0))
    assert (weak - strong).abs().max() > 1e-4
    schnell = built("flux_schnell")
    assert torch.equal(*(schnell.predict(noise, level, schnell.encode(PROMPTS), scale) for scale in (1.0, 7.0)))


def test_packing_is_a_permutation():
    latents = torch.randn(2, 4, 6, 8)
    tokens = flow.pack(latents)
    assert tokens.shape == (2, 12, 16)
    assert torch.equal(flow.unpack(tokens, 3, 4), latents)
    assert torch.equal(tokens, diffusers.FluxPipeline._pack_latents(latents, 2, 4, 6, 8))
