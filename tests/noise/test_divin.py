"""Laws of the Langevin step away from noises whose prompt pulls hardest."""

import math

import pytest
import torch

from npnet import seeding
from npnet.backbones import Shapes
from npnet.backbones.schedules import Coefficients
from npnet.compatibility import check_method
from npnet.errors import UserError
from npnet.noise import DivIn
from npnet.noise.runtime.divin import pull, pull_gradient
from tests.noise import linear

SEEDS = (1, 2)
PROMPTS = ["a red circle above a blue square", "a green cross below a red square"]


@pytest.fixture(scope="module")
def shapes():
    return Shapes(device="cpu").load()


def run(method, backbone, prompts):
    noise = linear.noise_of(backbone, SEEDS)
    return noise, method.load(backbone)(noise, backbone.encode(prompts), backbone, seeding.streams(SEEDS, "d")).noise


@pytest.mark.parametrize("kind", ["variance_preserving", "flow"])
def test_where_the_prompt_pulls_everywhere_alike_the_step_is_that_of_the_prior(kind):
    backbone = linear.of_kind(kind)  # of which the two branches differ by a constant
    noise, found = run(DivIn(4, temperature=3.0), backbone, linear.PROMPTS)
    fresh = seeding.randn_like(noise, seeding.streams(SEEDS, "d"))
    assert torch.allclose(found, 0.95 * noise + math.sqrt(0.1) * fresh, atol=1e-4)


def test_the_pull_is_the_distance_of_what_the_first_evaluation_shows_with_and_without_the_prompt():
    backbone = linear.of_kind("flow")
    noise, conditioning = linear.noise_of(backbone, SEEDS), backbone.encode(linear.PROMPTS)
    branches = backbone.predict_branches(noise, 1.0, conditioning)
    expected = (branches.conditional - branches.unconditional).flatten(1).norm(dim=1)  # x_0 = x - v at t = 1
    assert torch.allclose(pull(noise, conditioning, backbone, 4), expected)


def test_the_gradient_is_that_of_a_finite_difference_and_the_step_lowers_the_pull(shapes):
    noise, conditioning = linear.noise_of(shapes, SEEDS), shapes.encode(PROMPTS)
    gradient = pull_gradient(noise, conditioning, shapes, 4)
    length = gradient.flatten(1).norm(dim=1)
    step = 1e-2 * gradient / length.view(-1, 1, 1, 1)
    ahead, behind = (pull(noise + way * step, conditioning, shapes, 4) for way in (1, -1))
    assert torch.allclose((ahead - behind) / 2e-2, length, rtol=1e-2)
    assert (behind < pull(noise, conditioning, shapes, 4)).all()


def test_the_two_parts_of_the_step_are_the_drift_and_a_draw(shapes):
    noise, with_pull = run(DivIn(4, temperature=0.5), shapes, PROMPTS)
    _, without = run(DivIn(4, temperature=0.0), shapes, PROMPTS)
    gradient = pull_gradient(noise, shapes.encode(PROMPTS), shapes, 4)
    assert torch.allclose(with_pull - without, -0.05 * 0.5 * gradient, atol=1e-5)


def test_a_model_that_starts_at_pure_noise_is_refused(monkeypatch):
    description = linear.of_kind().description
    check_method("d", DivIn(4), description)
    monkeypatch.setattr(type(description.schedule()), "coefficients", lambda self, timestep: Coefficients(0.0, 1.0))
    with pytest.raises(UserError, match="noise.d.*starts at pure noise, where no x_0 is defined"):
        check_method("d", DivIn(4), description)
