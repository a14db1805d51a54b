"""Our numbers are diffusers' own, float32 rounding included, for every shipped schedule and some that are not."""

import pickle
import subprocess
import sys
from pathlib import Path

import diffusers
import numpy as np
import pytest

from npnet import backbones
from npnet.backbones import END, FlowSchedule, VariancePreservingSchedule, levels
from npnet.errors import UserError
from tests import tiny
from tests.backbones.published import HUB_IDS, MODELS
from tests.families import SIZE

PUBLISHED = {name: model["parts"]["scheduler"] for name, model in MODELS.items()}
VARIANCE_PRESERVING = {
    name: config for name, (kind, config) in PUBLISHED.items() if not config.keys() & {"shift", "flow_shift"}
}
TABLES = {
    **VARIANCE_PRESERVING,
    "linear": {"beta_schedule": "linear"},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "trained": {"trained_betas": [0.1, 0.2, 0.3, 0.4], "num_train_timesteps": 4},
    "short": {"num_train_timesteps": 500, "beta_schedule": "scaled_linear"},
}
COUNTS = (1, 2, 3, 4, 7, 10, 28, 30, 50, 333, 999, 1000)


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_that_of_diffusers_to_the_bit(name):
    ours = levels.alphas_cumprod(TABLES[name])
    assert (
        ours == diffusers.DDIMScheduler(**known(diffusers.DDIMScheduler, TABLES[name])).alphas_cumprod.double().tolist()
    )


@pytest.mark.parametrize("name", ["sdxl", "linear"])
def test_a_table_without_signal_at_its_end_is_that_of_diffusers(name):
    """To a few roundings of float32: torch's square root is not the nearest number everywhere."""
    config = {**TABLES[name], "rescale_betas_zero_snr": True}
    theirs = diffusers.DDIMScheduler(**known(diffusers.DDIMScheduler, config)).alphas_cumprod.double().numpy()
    ours = np.array(levels.alphas_cumprod(config))
    assert ours[-1] == theirs[-1] == 0
    assert np.allclose(ours, theirs, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("spacing", levels.DDIM_SPACINGS)
@pytest.mark.parametrize("offset", [0, 1])
def test_the_levels_of_every_spacing_are_those_of_ddim_and_dpm_solver(spacing, offset):
    config = {**TABLES["sdxl"], "timestep_spacing": spacing, "steps_offset": offset}
    clipped = {**config, "beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}
    for count in COUNTS:
        scheduler = diffusers.DDIMScheduler(**known(diffusers.DDIMScheduler, config))
        scheduler.set_timesteps(count)
        assert levels.ddim_levels(config, count) == scheduler.timesteps.tolist()
        for asked in (config, clipped):
            scheduler = diffusers.DPMSolverMultistepScheduler(**known(diffusers.DPMSolverMultistepScheduler, asked))
            scheduler.set_timesteps(count)
            found = levels.dpm_solver_levels(asked, levels.alphas_cumprod(asked), count)
            assert found == scheduler.timesteps.tolist()


def test_align_your_steps_are_those_of_diffusers():
    theirs = diffusers.schedulers.AysSchedules
    assert list(levels.AYS["sd"]) == theirs["StableDiffusionTimesteps"]
    assert list(levels.AYS["sdxl"]) == theirs["StableDiffusionXLTimesteps"]


@pytest.mark.parametrize(
    "config",
    [
        {"shift": 1.0},
        {"shift": 3.0},
        {"shift": 3.0, "shift_terminal": 0.1},
        {"shift": 3.0, "use_dynamic_shifting": True},
        {"use_dynamic_shifting": True, "time_shift_type": "linear"},
        {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"},
        {"use_flow_sigmas": True, "flow_shift": 1.0, "prediction_type": "flow_prediction"},
    ],
)
def test_the_sigmas_of_flow_schedules_are_those_of_diffusers_to_the_bit(config):
    multistep = "use_flow_sigmas" in config
    kind = diffusers.UniPCMultistepScheduler if multistep else diffusers.FlowMatchEulerDiscreteScheduler
    mu = 0.7 if config.get("use_dynamic_shifting") else None
    for count in COUNTS[1:]:
        for given in [None] if multistep else [None, np.linspace(1.0, 1 / count, count)]:
            options = {"mu": mu} if mu is not None else {}
            options |= {"sigmas": given} if given is not None else {}
            scheduler = kind(**config)
            scheduler.set_timesteps(count, **options)
            theirs = [float(sigma) for sigma in scheduler.sigmas[:-1]]
            assert levels.flow_sigmas(config, count, mu, given) == theirs, (count, given is None)


def test_what_a_schedulers_class_adds_is_not_the_checkpoints_own():
    """DDIM reads the same checkpoint with its own defaults, as ``from_config`` does."""
    loaded = diffusers.PNDMScheduler.from_config({"beta_start": 0.00085, "steps_offset": 1}).config
    assert levels.plain(loaded) == {"beta_start": 0.00085, "steps_offset": 1}
    ours = VariancePreservingSchedule(loaded, "trailing")
    theirs = diffusers.DDIMScheduler.from_config({**levels.plain(loaded), "timestep_spacing": "trailing"})
    theirs.set_timesteps(4)
    assert ours.timesteps(4) == theirs.timesteps.tolist()


def test_a_class_whose_end_is_not_clean_by_default_keeps_it():
    pipeline = tiny.sdxl_pipeline()
    pipeline.scheduler = diffusers.PNDMScheduler()
    schedule = backbones.StableDiffusionXL("unused", **SIZE).adopt(pipeline).schedule()
    assert schedule.coefficients(END) == schedule.coefficients(0)
    assert VariancePreservingSchedule({}).coefficients(END) == (1.0, 0.0)


@pytest.mark.parametrize(("spacing", "clean"), [(None, True), ("leading", False), ("dpm_solver", True)])
def test_a_turbo_checkpoint_ends_clean_at_its_own_levels_alone(spacing, clean):
    turbo = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing", "set_alpha_to_one": False}
    schedule = VariancePreservingSchedule(turbo, spacing)
    assert schedule.coefficients(END) == ((1.0, 0.0) if clean else schedule.coefficients(0))


def test_schedules_of_a_kind_that_is_not_computed_are_refused():
    with pytest.raises(UserError, match="a checkpoint whose schedule asks for use_karras_sigmas is not supported"):
        levels.flow_sigmas({"use_karras_sigmas": True}, 4)
    with pytest.raises(UserError, match="beta_schedule='sigmoid'; allowed: linear, scaled_linear, squaredcos_cap_v2"):
        levels.alphas_cumprod({"beta_schedule": "sigmoid"})


def test_steps_and_coefficients_agree():
    for schedule in (VariancePreservingSchedule(TABLES["sdxl"]), FlowSchedule(lambda n: [1 - i / n for i in range(n)])):
        for here, there in schedule.steps(7):
            scale, shift = schedule.step_coefficients(here, there)
            back_scale, back_shift = schedule.step_coefficients(there, here)
            assert scale * back_scale == pytest.approx(1, rel=1e-12)
            assert back_scale * shift + back_shift == pytest.approx(0, abs=1e-12)
        assert schedule.timesteps(7) == [step.from_timestep for step in schedule.steps(7)]
        assert schedule.steps(7)[-1].to_timestep == END


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_familys_published_schedule_stands_in_for_a_checkpoints_that_is_not_here(name):
    model = MODELS[name]
    path = HUB_IDS.get(name, "nobody/nothing")
    family = {
        "StableDiffusionPipeline": backbones.StableDiffusion,
        "StableDiffusionXLPipeline": backbones.StableDiffusionXL,
        "HunyuanDiTPipeline": backbones.HunyuanDiT,
        "StableDiffusion3Pipeline": backbones.StableDiffusion3,
        "FluxPipeline": backbones.Flux,
        "Flux2KleinPipeline": backbones.Flux2Klein,
        "QwenImagePipeline": backbones.QwenImage,
        "ZImagePipeline": backbones.ZImage,
        "SanaSprintPipeline": backbones.SanaSprint,
        "WanPipeline": backbones.Wan,
    }[model["pipeline"]]
    described = family(path, **SIZE)
    kind, config = model["parts"]["scheduler"]
    loaded = getattr(diffusers, kind).from_config(config).config
    theirs = described.make_schedule({**loaded, "_class_name": kind})
    ours = described.schedule()
    assert ours.predicts == theirs.predicts
    for count in (4, 10, 50):
        assert ours.steps(count) == theirs.steps(count)
        for level in (*ours.timesteps(count), END):
            assert ours.coefficients(level) == theirs.coefficients(level)


@pytest.mark.parametrize(
    "make", [lambda: backbones.Shapes(), lambda: backbones.Wan("a/b"), lambda: backbones.Flux("a/b")]
)
def test_descriptions_and_schedules_travel_to_workers(make):
    described = pickle.loads(pickle.dumps(make()))
    assert described == make()
    schedule = pickle.loads(pickle.dumps(described.schedule()))
    assert schedule.steps(4) == make().schedule().steps(4)


def test_descriptions_need_no_torch():
    code = (
        "import sys; from npnet import backbones as b; from npnet.backbones.samplers import check_sampler; "
        "b.Shapes().schedule().steps(4); b.Flux('a/b').latent_shape(); "
        "check_sampler('default', b.Shapes(), 4); b.Shapes().check(); "
        "print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert found.stdout.strip() == "[]"


def known(kind, config):
    """The part of a published configuration that a scheduler's constructor takes."""
    return {key: value for key, value in config.items() if key in kind._get_init_keys(kind)}
