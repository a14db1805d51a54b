"""Training without guidance: the target is the guided picture, and the gradient leads there."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from npnet.errors import UserError
from npnet.training.drawn import DescribedModels
from npnet.training.drawn_module import Models
from npnet.training.guidance_free import GuidanceFree
from npnet.training.guidance_free_module import GuidanceFreeModule
from npnet.training.optimisation import Optimisation
from npnet.training.penalties import squared_error
from tests.fakes import Brightness, LinearBackbone, linear
from tests.training.affine import Affine
from tests.training.runs import run
from tests.training.test_reward import PROMPTS, SCALE, STEPS, batch, gradients, unet
from tests.training.test_reward_runs import SMALL

PLAIN = GuidanceFree(gradient_clip=None)


def module(objective=PLAIN, network=None, kind="variance_preserving"):
    described = DescribedModels(LinearBackbone(kind), {"bright": Brightness()}, STEPS, SCALE)
    made = GuidanceFreeModule(Affine() if network is None else network, Optimisation(), objective, described, 0)
    made._models = Models(linear(kind, device="cpu"), {"bright": Brightness().load()})
    return made


@pytest.mark.parametrize("kind", ["variance_preserving", "flow"])
def test_the_gradient_is_that_of_the_distance_from_end_to_end(kind):
    made, given = module(replace(PLAIN, l2=0.2), unet(), kind), batch()
    outputs = made.training_step(given, 0)
    found = gradients(made, outputs["loss"])
    backbone, conditioning = made.models.backbone, made.encode(PROMPTS)
    guided = backbone.sample(given["source_noise"], conditioning, STEPS, SCALE)
    golden = made.network.improve(given["source_noise"], conditioning)
    change = golden - given["source_noise"]
    loss = (backbone.sample(golden, conditioning, STEPS, 1.0) - guided).square().mean() + 0.1 * change.square().mean()
    expected = gradients(made, loss)
    assert float(outputs["loss"].detach()) == pytest.approx(float(loss.detach()), rel=1e-5)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-6 * float(gradient.abs().max())), name


@pytest.mark.parametrize("kind", ["variance_preserving", "flow"])
def test_where_the_unguided_picture_is_the_guided_one_nothing_is_left_to_learn(kind):
    made, noise = module(kind=kind), batch()["source_noise"]
    backbone, conditioning = made.models.backbone, made.encode(PROMPTS)
    with torch.no_grad():  # this model's sampler is affine: a noise + b
        guided = backbone.sample(noise, conditioning, STEPS, SCALE)
        at_zero = backbone.sample(torch.zeros_like(noise), conditioning, STEPS, 1.0)
        gain = backbone.sample(torch.ones_like(noise), conditioning, STEPS, 1.0) - at_zero
    perfect = made.aim((guided - at_zero) / gain, noise, conditioning)
    left_alone = made.aim(noise.clone(), noise, conditioning)
    assert -float(perfect.value) < 1e-9 * -float(left_alone.value) + 1e-9
    assert float(perfect.gradient.norm()) < 1e-3 * float(left_alone.gradient.norm())


def test_a_network_that_returns_its_input_has_a_relative_error_of_one():
    made, told = module(), {}
    made.log_dict = lambda values, **options: told.update(values)
    made.on_validation_epoch_start()
    made.validation_step(batch(), 0)
    made.on_validation_epoch_end()
    assert told["val/relative_x0_error"] == pytest.approx(1)
    conditioning, noise = made.encode(PROMPTS), batch()["source_noise"]
    both = [made.sampled(noise, conditioning, scale) for scale in (SCALE, 1.0)]
    assert told["val/x0_error"] == pytest.approx(float(squared_error(*both).mean()), rel=1e-5)


WITHOUT = [
    "objective=guidance_free",
    *(asked for asked in SMALL if not asked.startswith(("objective=reward", "objective.reward"))),
]


def test_a_run_tells_its_error_and_marks_no_metric(tmp_path):
    run("null", tmp_path / "run", "trainer.max_epochs=1", small=WITHOUT)
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert {"train/x0_error", "val/x0_error", "val/relative_x0_error", "val/target", "val/diversity"} <= rows[0].keys()
    training = json.loads((tmp_path / "run" / "network" / "training.json").read_text())
    assert training["selected_by"] == [] and "optimised_for" not in training["trained_for"]


def test_a_model_that_is_not_guided_has_nothing_to_learn(tmp_path):
    with pytest.raises(UserError, match=r"objective.guidance_scale=1.0: guidance above 1 is needed"):
        run("null", tmp_path / "run", "objective.guidance_scale=1", "dry_run=true", small=WITHOUT)
