"""What every family does, on tiny models: every YAML of ``conf/backbone`` and some further forms keep the laws."""

import diffusers
import pytest
import torch

from npnet import backbones, seeding
from npnet.backbones import END, samplers
from npnet.backbones.runtime import flow
from npnet.errors import UserError, under
from npnet.laws.backbone import LAWS, case_of
from npnet.noise.runtime.inversion import redenoise
from npnet.paths import config_dir
from npnet.records import Branches
from tests import fakes, tiny
from tests.backbones.members import MEMBERS, member
from tests.families import EVERY, GUIDED, PROMPTS, SEEDS, SIZE, built, noise_for, prompts_for

ANYWHERE = 4.0  # a guidance scale


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", MEMBERS)
def test_every_backbone_keeps_the_laws_of_its_family(name, law):
    LAWS[law](case_of(member(name)))


def test_every_shipped_yaml_is_a_member():
    assert {path.stem for path in (config_dir() / "backbone").glob("*.yaml")} <= set(MEMBERS)


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
    if name.startswith("z_image"):  # its pipeline counts one less, and knows no checkpoint that is distilled
        options["guidance_scale"] = guidance_scale - 1 if name == "z_image_base" else 0.0
    if name == "qwen_image":
        options |= {"true_cfg_scale": guidance_scale, "guidance_scale": None, "negative_prompt": [" "] * len(SEEDS)}
    pipeline, published = backbone.pipeline, backbone.pipeline.scheduler
    pipeline.scheduler = reference_scheduler(name, backbone)
    try:
        latents = pipeline(prompt=list(PROMPTS), **options)[0]
        sigmas = getattr(pipeline.scheduler, "sigmas", None)
    finally:
        pipeline.scheduler = published
    if name.startswith("flux2"):  # it returns what the VAE takes
        norm, cells = pipeline.vae.bn, torch.nn.functional.pixel_unshuffle(latents, 2)
        return torch.nn.functional.batch_norm(cells, norm.running_mean, norm.running_var, eps=norm.eps), sigmas
    return (flow.unpack(latents, 4, 6) if name.startswith(("flux", "qwen")) else latents), sigmas


@pytest.mark.parametrize("steps", [3, 4])
@pytest.mark.parametrize("guidance_scale", [1.0, ANYWHERE])
def test_our_loop_gives_the_latents_of_the_diffusers_pipeline(name, guidance_scale, steps):
    if name == "sana_sprint":
        pytest.skip("its pipeline draws noise; see the test of its sampler")
    backbone = built(name)
    ours = backbone.sample(noise_for(backbone), backbone.encode(PROMPTS), steps, guidance_scale)
    theirs, sigmas = latents_of_diffusers(name, backbone, steps, guidance_scale)
    assert torch.allclose(ours, theirs, atol=2e-5, rtol=1e-4), (ours - theirs).abs().max()
    if backbone.kind == "flow":
        levels = [backbone.coefficients(t).sigma for t in (*backbone.timesteps(steps), END)]
        assert levels == pytest.approx(sigmas.tolist(), abs=1e-7)


def test_coefficients_are_the_schedulers():
    for name in ("sd", "sdxl_v", "hunyuan_dit"):
        backbone = built(name)
        table = backbone.pipeline.scheduler.alphas_cumprod.double()
        for level in (901, 501, 1):
            alpha, sigma = backbone.coefficients(level)
            assert alpha**2 == pytest.approx(float(table[level]), rel=1e-12)
            assert alpha**2 + sigma**2 == pytest.approx(1.0, rel=1e-12)
        assert backbone.coefficients(END) == backbone.coefficients(0)


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
    if not guided.description.affine_guidance:
        pytest.skip("its closed form has another guidance in it")
    gain = s1 - s0 if guided.kind == "flow" else (a0 * s1 - a1 * s0) / a1
    assert gain < 0
    assert (golden - (noise + gain * (5.5 - 1.0) * (cond - uncond))).abs().max() < 1e-12


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
    if name.startswith("flux2"):
        norm = pipeline.vae.bn
        deviation = (norm.running_var + norm.eps).sqrt().view(-1, 1, 1)
        cells = pipeline._unpatchify_latents(latents * deviation + norm.running_mean.view(-1, 1, 1))
        theirs = pipeline.image_processor.postprocess(pipeline.vae.decode(cells)[0], "pt")
    elif name == "qwen_image":
        mean, std = (torch.tensor(numbers).view(16, 1, 1) for numbers in (config.latents_mean, config.latents_std))
        frames = pipeline.vae.decode((latents * std + mean).unsqueeze(2))[0]
        theirs = pipeline.image_processor.postprocess(frames[:, :, 0], "pt")
    elif name == "wan":
        shape = (1, 16, 1, 1, 1)
        mean, std = torch.tensor(config.latents_mean).view(shape), torch.tensor(config.latents_std).view(shape)
        theirs = pipeline.video_processor.postprocess_video(pipeline.vae.decode(latents * std + mean)[0], "pt")
    else:
        shift = getattr(config, "shift_factor", None) or 0.0
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


def test_where_guidance_is_distilled_its_scale_changes_nothing_and_two_branches_are_refused():
    backbone = tiny.family("sdxl", guidance_distilled=True)
    conditioning = backbone.encode(PROMPTS)
    plain, zero, strong = (backbone.sample(noise_for(backbone), conditioning, 3, scale) for scale in (1.0, 0.0, 7.0))
    assert torch.equal(plain, zero)
    assert torch.equal(plain, strong)
    assert torch.equal(plain, built("sdxl").sample(noise_for(backbone), built("sdxl").encode(PROMPTS), 3, 1.0))
    with pytest.raises(UserError, match="needs unconditional_branch.*backbone.guidance_distilled=false evaluates"):
        backbone.require(("unconditional_branch",), "noise.inversion")
    with pytest.raises(UserError, match="FLUX.1 always is; true_cfg=true"):
        tiny.family("flux", guidance_distilled=True)


def test_embedded_guidance_is_what_the_network_reads():
    backbone = built("flux")
    noise, c, level = noise_for(backbone), backbone.encode(PROMPTS), backbone.timesteps(3)[0]
    weak, strong = (backbone.predict(noise, level, c, scale) for scale in (1.0, 7.0))
    assert (weak - strong).abs().max() > 1e-4
    schnell = built("flux_schnell")
    assert torch.equal(*(schnell.predict(noise, level, schnell.encode(PROMPTS), scale) for scale in (1.0, 7.0)))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_sampler_of_sana_sprint_is_its_pipelines(steps):
    backbone = built("sana_sprint")
    here, there = ([torch.Generator("cpu").manual_seed(seed) for seed in SEEDS] for _ in range(2))
    noise = torch.stack([torch.randn(backbone.latent_shape(), generator=generator) for generator in here])
    conditioning = backbone.encode(PROMPTS)
    ours = backbone.sample(noise, conditioning, steps, ANYWHERE, sampler="scm", generators=here)
    theirs = backbone.pipeline(
        list(PROMPTS),
        num_inference_steps=steps,
        intermediate_timesteps=1.3 if steps == 2 else None,
        guidance_scale=ANYWHERE,
        height=64,
        width=96,
        generator=there,
        max_sequence_length=tiny.T5_LENGTH,
        use_resolution_binning=False,
        output_type="latent",
    )[0]
    assert torch.allclose(ours, theirs, atol=1e-4), (ours - theirs).abs().max()
    angles = backbone.pipeline.scheduler.timesteps[:-1].double()
    levels = torch.tensor(backbone.timesteps(steps), dtype=torch.float64) / 1000
    assert torch.allclose(levels, angles.sin() / (angles.cos() + angles.sin()), atol=1e-5)
    plain = backbone.sample(noise, conditioning, steps, ANYWHERE)
    assert torch.allclose(plain, ours, atol=1e-5) == (steps == 1)


def test_the_sampler_of_sana_sprint_is_refused_elsewhere():
    with pytest.raises(UserError, match="sampler=scm: it is SANA-Sprint's; use sampler=default with StableDiffusion3"):
        samplers.check_sampler("scm", built("sd3"))
    with pytest.raises(UserError, match="allowed there: sampler=default, scm"):
        samplers.check_sampler("ddim", built("sana_sprint"))


def test_guidance_that_is_not_affine_keeps_the_length_of_each_token():
    backbone = built("qwen_image")
    noise, level = noise_for(backbone), backbone.timesteps(3)[1]
    branches = backbone.predict_branches(noise, level, backbone.encode(PROMPTS))
    guided, plain = flow.pack(backbone.guide(branches, ANYWHERE)), flow.pack(branches.conditional)
    affine = flow.pack(branches.unconditional + ANYWHERE * (branches.conditional - branches.unconditional))
    assert torch.allclose(guided.norm(dim=-1), plain.norm(dim=-1), rtol=1e-5)
    assert not torch.allclose(affine.norm(dim=-1), plain.norm(dim=-1), rtol=1e-2)
    assert torch.allclose(torch.cosine_similarity(guided, affine, dim=-1), torch.ones(()), atol=1e-5)


def test_packing_is_a_permutation():
    latents = torch.randn(2, 4, 6, 8)
    tokens = flow.pack(latents)
    assert tokens.shape == (2, 12, 16)
    assert torch.equal(flow.unpack(tokens, 3, 4), latents)
    assert torch.equal(tokens, diffusers.FluxPipeline._pack_latents(latents, 2, 4, 6, 8))


class Uncounted(fakes.LoadedLinear):
    def evaluate(self, latents, label, conditioning, unconditional):
        output = self.denoiser.model_output(latents, label, conditioning, unconditional)
        return (output, None) if not unconditional else output.chunk(2)[::-1]


class Bright(fakes.LoadedLinear):
    def decode(self, latents):
        return 2 * super().decode(latents)


class Drifting(fakes.LoadedLinear):
    def move(self, latents, noise_pred, from_timestep, to_timestep):
        return super().move(latents, noise_pred, from_timestep, to_timestep) + 1e-9


class Greedy(fakes.LoadedLinear):
    def sample(self, noise, *others, **options):
        return super().sample(noise, *others, **options) + noise.mean()


class Overguided(fakes.LoadedLinear):
    def guide(self, branches, guidance_scale):
        return super().guide(branches, guidance_scale**2 if guidance_scale != 1 else 1)


class Misnamed(fakes.LoadedLinear):
    def embed_dims(self):
        return {**super().embed_dims(), "prompt_length": 5}


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Uncounted, "forwards are counted"),
        (Uncounted, "backwards are counted"),
        (Bright, "pictures lie in the unit range"),
        (Drifting, "moving there and back is the identity"),
        (Greedy, "a batch is its singles"),
        (Overguided, "guidance is affine in its scale"),
        (Misnamed, "a prompt is encoded alike alone and in a batch"),
    ],
)
def test_a_law_finds_what_breaks_it(broken, law):
    with pytest.raises(AssertionError):
        LAWS[law](case_of(broken(fakes.LinearBackbone(device="cpu"))))


def test_a_guidance_that_is_not_said_is_the_settings_own():
    loaded = backbones.Flux("unused", settings={"guidance_scale": 2.0}, **SIZE).adopt(tiny.flux_pipeline())
    latents, bare = torch.randn(1, *loaded.latent_shape()), loaded.encode(["a"])
    with torch.no_grad():
        label = loaded.timesteps(2)[0]
        own, two, other = (
            loaded.evaluate(latents, label, conditioning, unconditional=False)[0]
            for conditioning in (bare, loaded.with_guidance(bare, 2.0), loaded.with_guidance(bare, 3.5))
        )
    assert torch.equal(own, two)
    assert not torch.equal(own, other)
