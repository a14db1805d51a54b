"""Which levels are visited, and by which sampler."""

import diffusers
import pytest
import torch

from npnet import seeding
from npnet.backbones import END, Flux, HunyuanDiT, StableDiffusionXL, samplers
from npnet.backbones.flux2 import empirical_shift
from npnet.backbones.runtime import samplers as runtime_samplers
from npnet.errors import UserError, shown
from tests import tiny
from tests.backbones.members import described_by
from tests.families import PROMPTS, SEEDS, SIZE, built, noise_for, reference, sampled

AYS = [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [3, 4, 7])
def test_named_spacings_are_those_of_ddim(spacing, steps):
    backbone = StableDiffusionXL("unused", spacing=spacing, **SIZE).adopt(tiny.sdxl_pipeline())
    scheduler = diffusers.DDIMScheduler.from_config({**tiny.SDXL_SCHEDULER, "timestep_spacing": spacing})
    assert torch.allclose(sampled(backbone, steps), reference(backbone, scheduler, steps), atol=2e-5, rtol=1e-4)
    assert torch.allclose(sampled(backbone, steps, sampler="ddim"), sampled(backbone, steps), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_our_step_at_dpm_solvers_levels_is_its_first_order_step(prediction_type):
    pipeline = tiny.sdxl_pipeline(prediction_type)
    backbone = StableDiffusionXL("unused", spacing="dpm_solver", **SIZE).adopt(pipeline)
    assert backbone.timesteps(4) == [801.0, 601.0, 401.0, 201.0]
    first = diffusers.DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config, solver_order=1)
    assert torch.allclose(sampled(backbone, 4), reference(backbone, first, 4), atol=5e-5, rtol=1e-4)
    second = diffusers.DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    theirs = reference(backbone, second, 4)
    assert torch.allclose(sampled(backbone, 4, sampler="dpm_solver_multistep"), theirs, atol=5e-5, rtol=1e-4)
    assert backbone.coefficients(END) == (1.0, 0.0)


def test_align_your_steps():
    backbone = StableDiffusionXL("unused", spacing="ays", **SIZE).adopt(tiny.sdxl_pipeline())
    assert backbone.timesteps(10) == AYS
    first = diffusers.DPMSolverMultistepScheduler.from_config(tiny.SDXL_SCHEDULER, solver_order=1)
    theirs = reference(backbone, first, None, timesteps=AYS)
    assert torch.allclose(sampled(backbone, 10), theirs, atol=5e-5, rtol=1e-4)
    second = diffusers.DPMSolverMultistepScheduler.from_config(tiny.SDXL_SCHEDULER)
    theirs = reference(backbone, second, None, timesteps=AYS)
    assert torch.allclose(sampled(backbone, 10, sampler="dpm_solver_multistep"), theirs, atol=5e-5, rtol=1e-4)
    with pytest.raises(UserError, match="num_inference_steps=4: backbone.spacing has 10 levels"):
        backbone.steps(4)
    with pytest.raises(UserError, match="sampler=pndm has a spacing of its own.*allowed then: default, dpm_solver"):
        sampled(backbone, 10, sampler="pndm")
    other = tiny.family("sd", spacing="ays")
    assert other.timesteps(10) == diffusers.schedulers.AysSchedules["StableDiffusionTimesteps"]


def test_a_few_step_checkpoint_ends_clean_as_eulers_scheduler_does():
    pipeline = tiny.sdxl_pipeline()
    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        {**tiny.SDXL_SCHEDULER, "timestep_spacing": "trailing"}
    )
    backbone = StableDiffusionXL("unused", **SIZE).adopt(pipeline)
    assert backbone.timesteps(4) == [999, 749, 499, 249]
    assert backbone.coefficients(END) == (1.0, 0.0)
    theirs = reference(
        backbone, diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, set_alpha_to_one=True), 4
    )
    assert torch.allclose(sampled(backbone, 4), theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "levels"), [("sdxl_lightning", "euler"), ("sdxl_lcm", "lcm")])
def test_the_levels_of_a_few_step_lora_are_its_schedulers(name, levels):
    kind = {"euler": diffusers.EulerDiscreteScheduler, "lcm": diffusers.LCMScheduler}[levels]
    own = {"timestep_spacing": "trailing"} if levels == "euler" else {}
    scheduler = kind.from_config({**tiny.SDXL_SCHEDULER, **own})
    scheduler.set_timesteps(4)
    assert described_by(name).schedule().timesteps(4) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("name", ["sdxl", "sd3", "wan"])
def test_a_list_of_levels(name):
    backbone = tiny.family(name, spacing=[900, 500, 100])
    assert backbone.steps(3) == [(900, 500), (500, 100), (100, END)]
    assert torch.equal(sampled(backbone), sampled(built(name), timesteps=[900, 500, 100])) == (name != "sdxl")


def test_a_level_between_levels_is_a_mistake():
    with pytest.raises(ValueError, match="level 12.5: the schedule has whole levels 0 to 999"):
        built("sdxl").coefficients(12.5)


@pytest.mark.parametrize("name", ["sd3", "flux", "flux2_klein", "wan"])
def test_the_shift_of_a_flow_schedule(name):
    weak, strong = (tiny.family(name, shift=shift) for shift in (1.0, 5.0))
    for step in (1, 2):
        assert strong.timesteps(4)[step] > weak.timesteps(4)[step] + 50


def test_flux_shifts_with_the_size_of_the_picture():
    small, large = tiny.family("flux"), tiny.family("flux", height=1024, width=1024)
    assert small.timesteps(4)[1] < large.timesteps(4)[1]
    pipeline = large.pipeline
    mu = diffusers.pipelines.flux.pipeline_flux.calculate_shift(64 * 64)
    pipeline.scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25], mu=mu)
    assert large.timesteps(4) == pytest.approx(pipeline.scheduler.timesteps.tolist(), abs=1e-3)


@pytest.mark.parametrize("side", [256, 1024, 2048])
def test_the_shift_of_flux_2_is_that_of_its_pipeline(side):
    for steps in (1, 4, 10, 50, 200):
        theirs = diffusers.pipelines.flux2.pipeline_flux2_klein.compute_empirical_mu((side // 16) ** 2, steps)
        assert empirical_shift({}, (side // 16) ** 2, steps) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("name", ["sdxl", "sd_v", "hunyuan_dit"])
@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_every_sampler_is_the_pipelines_and_repeatable_given_generators(name, sampler):
    backbone = built(name)
    runs = [sampled(backbone, sampler=sampler, generators=seeding.streams(SEEDS, "sampler")) for _ in range(2)]
    assert torch.isfinite(runs[0]).all()
    assert torch.equal(*runs)
    if name != "sdxl":
        return
    scheduler = runtime_samplers.make_scheduler(sampler, backbone.schedule().published)
    # given latents are scaled by init_noise_sigma inside the pipeline: once there, once here
    theirs = reference(backbone, scheduler, generator=seeding.streams(SEEDS, "sampler"))
    assert torch.allclose(runs[0], theirs, atol=1e-4, rtol=1e-3)


def test_a_samplers_draws_do_not_depend_on_the_batch():
    backbone = built("sdxl")
    c = backbone.encode(PROMPTS)
    whole = backbone.sample(noise_for(backbone), c, 3, 3.0, "euler_ancestral", generators=seeding.streams(SEEDS, "s"))
    alone = backbone.sample(
        noise_for(backbone)[1:], c[1:], 3, 3.0, "euler_ancestral", generators=seeding.streams(SEEDS[1:], "s")
    )
    assert torch.allclose(whole[1:], alone, atol=1e-3, rtol=1e-3)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(UserError, match=r"sampler 'dimm' is not known \(did you mean 'ddim'"):
        samplers.check_sampler("dimm")
    samplers.check_sampler("default", built("wan"))


def test_a_schedule_that_starts_without_signal_is_refused():
    backbone = tiny.sdxl("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(UserError, match="starts without any signal"):
        backbone.steps(4)
    assert tiny.sdxl("v_prediction", rescale_betas_zero_snr=True).steps(4)


LARGEST = {**dict.fromkeys(samplers.SAMPLERS, 1000), "lcm": 50}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipelines") / "sdxl"
    built("sdxl").pipeline.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_a_sampler_refuses_step_counts_that_its_schedule_does_not_have(sampler, saved):
    """Loaded or not: the schedule is known before the weights are."""
    loaded, checked = built("sdxl"), StableDiffusionXL(saved, **SIZE)
    c = loaded.encode(PROMPTS)
    for count in (0, -1, True, LARGEST[sampler] + 1, 2000):
        allowed = f"sampler={sampler} takes 1 to {LARGEST[sampler]} with this checkpoint"
        said = f"^num_inference_steps={shown(count)}: {allowed}$"
        for refuse in (
            lambda count=count: loaded.sample(noise_for(loaded), c, count, 1.0, sampler),
            lambda count=count: samplers.check_sampler(sampler, loaded, count),
            lambda count=count: samplers.check_sampler(sampler, checked, count),
        ):
            with pytest.raises(UserError, match=said):
                refuse()
    for count in (1, LARGEST[sampler] - 2):
        samplers.check_sampler(sampler, checked, count)


@pytest.mark.parametrize("sampler", ["default", "ddim", "ddpm", "pndm", "dpm_solver_multistep"])
def test_a_first_level_outside_the_table_is_refused(sampler, saved):
    """SDXL's schedule has steps_offset 1: 1000 leading steps would start at level 1000, the table ends at 999."""
    for backbone in (built("sdxl"), StableDiffusionXL(saved, **SIZE)):
        with pytest.raises(UserError, match="^num_inference_steps=1000: .*1000 levels are too few$"):
            samplers.check_sampler(sampler, backbone, 1000)


def test_a_number_that_a_scheduler_alone_refuses_is_refused_in_one_line():
    pipeline = tiny.hunyuan_pipeline()
    published = {key: value for key, value in pipeline.scheduler.config.items() if key != "skip_prk_steps"}
    pipeline.scheduler = diffusers.DDPMScheduler.from_config(published)
    backbone = HunyuanDiT("unused", **SIZE).adopt(pipeline)
    with pytest.raises(UserError, match="^num_inference_steps=2: sampler=pndm takes .*, but not this number:"):
        samplers.check_sampler("pndm", backbone, 2)
    samplers.check_sampler("pndm", backbone, 10)


@pytest.mark.parametrize("backbone", [StableDiffusionXL("owner/name", spacing="ays", **SIZE), *map(built, ["voxels"])])
def test_steps_are_checked_without_weights_as_far_as_possible(backbone):
    for count in (0, True, 2.5, "4"):
        with pytest.raises(
            UserError, match=f"^num_inference_steps={shown(count)}: a whole number of at least 1 is needed$"
        ):
            backbone.schedule().steps(count)
        with pytest.raises(UserError, match=f"^num_inference_steps={shown(count)}: "):
            samplers.check_sampler("default", backbone, count)
    backbone.schedule().steps(10)


@pytest.mark.parametrize(
    ("backbone", "levels"),
    [
        (StableDiffusionXL("owner/name", spacing="ays", **SIZE), 10),
        (HunyuanDiT("owner/name", spacing=[900, 500, 100], **SIZE), 3),
        (Flux("owner/name", spacing=[1000, 500.5], **SIZE), 2),
    ],
)
def test_fixed_levels_fix_the_steps_before_anything_is_loaded(backbone, levels):
    backbone.schedule().steps(levels)
    samplers.check_sampler("default", backbone, levels)
    for check in (backbone.schedule().steps, lambda count: samplers.check_sampler("default", backbone, count)):
        with pytest.raises(UserError, match=f"num_inference_steps=50: backbone.spacing has {levels} levels"):
            check(50)
    if backbone.kind == "variance_preserving":
        with pytest.raises(UserError, match=f"num_inference_steps=50: backbone.spacing has {levels} levels"):
            samplers.check_sampler("dpm_solver_multistep", backbone, 50)


def test_the_published_schedule_is_enough_to_check_steps(saved):
    backbone = StableDiffusionXL(saved, **SIZE)
    with pytest.raises(UserError, match="^num_inference_steps=2000: allowed: 1 to 1000$"):
        backbone.schedule().steps(2000)
    backbone.schedule().steps(50)
    assert backbone.schedule().steps(50) == built("sdxl").steps(50)
    with pytest.raises(UserError, match="^num_inference_steps=2000: allowed: 1 to 1000$"):
        Flux("owner/name", **SIZE).schedule().steps(2000)


def test_samplers_are_made_without_a_warning(caplog, capfd):
    """A refusal is one line on standard error, and diffusers would add its own."""
    for sampler in samplers.SAMPLERS:
        runtime_samplers.make_scheduler(sampler, built("sdxl").schedule().published)
    assert capfd.readouterr().err == ""
    assert not caplog.records
