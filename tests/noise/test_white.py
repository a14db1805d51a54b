"""Laws of the projection to white noise, and of the ascent that uses it."""

import math

import pytest
import torch

from npnet.compatibility import check_method
from npnet.errors import UserError
from npnet.noise import ReNO
from npnet.noise.runtime.white import BLOCK_SIZE, from_spectrum, project_sizes, project_to_white, to_spectrum
from tests.noise import linear
from tests.noise.scorers import Constant, Ramp, load


@pytest.fixture
def noise():
    return torch.randn(16, 4, 16, 16, generator=torch.Generator().manual_seed(0))


def blocks(values):
    return to_spectrum(values.flatten(1)).unflatten(1, (-1, BLOCK_SIZE)).abs()


def on_the_set(like):
    """Random points with the two norms of a block: any point of the simplex, stretched from its middle."""
    points = torch.rand(like.shape, generator=torch.Generator().manual_seed(1), dtype=like.dtype)
    return project_sizes(points**4)


def test_the_spectrum_has_every_number_once_and_undoes_itself(noise):
    spectrum = to_spectrum(noise.flatten(1))
    assert spectrum.shape == (16, 512)
    assert torch.allclose(2 * spectrum.abs().square().sum(1), noise.square().flatten(1).sum(1), rtol=1e-5)
    assert torch.allclose(from_spectrum(spectrum), noise.flatten(1), atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_each_block_of_the_result_has_the_norms_of_white_noise_whatever_the_scale(noise, scale):
    slope = scale * (noise + torch.linspace(-3, 3, 16))
    sizes = blocks(project_to_white(slope))
    assert torch.allclose(sizes.sum(-1), torch.tensor(BLOCK_SIZE * math.sqrt(math.pi) / 2), rtol=1e-4)
    assert torch.allclose(sizes.square().sum(-1), torch.tensor(float(BLOCK_SIZE)), rtol=1e-4)
    assert torch.allclose(project_to_white(slope), project_to_white(slope / scale), atol=1e-3)


def test_what_is_white_moves_little_and_what_is_projected_stays(noise):
    white = project_to_white(noise)
    cosine = torch.cosine_similarity(noise.flatten(1), white.flatten(1))
    assert (cosine > 0.98).all()
    assert torch.allclose(project_to_white(white), white, atol=1e-5)
    assert torch.allclose(white.square().flatten(1).mean(1), torch.ones(16), atol=1e-5)


def test_no_other_point_of_the_set_is_nearer():
    sizes = torch.rand(500, BLOCK_SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64) ** 0.2
    nearest = project_sizes(sizes)
    distance = (nearest - sizes).norm(dim=1)
    others = on_the_set(sizes)
    for share in (0.01, 0.1, 1.0):  # points close by, and anywhere
        candidates = project_sizes((1 - share) * nearest + share * others)
        assert (distance <= (candidates - sizes).norm(dim=1) + 1e-9).all()
    assert (nearest == 0).any(dim=1).any(), "the case in which a size would fall below 0 is among them"


def test_a_constant_is_taken_from_the_noise(noise):
    white = project_to_white(noise + 2)
    assert (white.flatten(1).mean(1).abs() < 3.8 / 32).all()  # the root of 2 x 7.18, the most power of a frequency


def test_noise_that_does_not_divide_into_blocks_is_refused():
    with pytest.raises(UserError, match="multiple of 32 numbers, and a sample has 36"):
        project_to_white(torch.randn(1, 4, 3, 3))


# --- the ascent ------------------------------------------------------------------------------------------------------


def visited(backbone, scorer, **changes):
    """Every noise whose picture was scored."""
    seen, sample = [], backbone.sample
    backbone.sample = lambda noise, *args, **kwargs: seen.append(noise.detach()) or sample(noise, *args, **kwargs)
    method = load(ReNO(1, 1.0, "m", regularisation=0.0, **changes), backbone, m=scorer)
    method(linear.noise_of(backbone), backbone.encode(linear.PROMPTS), backbone, [])
    return seen


@pytest.mark.parametrize("projection", ["noise", "both"])
def test_every_noise_after_the_first_is_white(projection):
    backbone = linear.of_kind()
    first, *later = visited(backbone, Ramp(), projection=projection, num_iterations=4, learning_rate=40.0)
    assert torch.equal(first, linear.noise_of(backbone))
    for noise in later:
        assert torch.allclose(project_to_white(noise), noise, atol=1e-4)


def test_a_projected_gradient_is_a_move_along_white_noise():
    first, second = visited(linear.of_kind(), Ramp(), projection="gradient", num_iterations=2)
    move = second - first
    assert torch.allclose(move.flatten(1).norm(dim=1), torch.tensor(5.0 * 1.9 * 0.1), rtol=1e-4)
    direction = move / move.square().flatten(1).mean(1).sqrt().view(-1, 1, 1, 1)
    assert torch.allclose(project_to_white(direction), direction, atol=1e-3)


def test_without_a_gradient_nothing_moves():
    first, second = visited(linear.of_kind(), Constant(), projection="gradient", num_iterations=2)
    assert torch.equal(first, second)


def test_a_size_that_cannot_be_projected_is_refused_before_anything_is_loaded(monkeypatch):
    description = linear.of_kind().description
    check_method("reno", ReNO(1, 1.0, "m", projection="both"), description)
    monkeypatch.setattr(type(description), "latent_shape", lambda self: (4, 3, 3))
    with pytest.raises(UserError, match="noise.reno.*projection needs noise of a multiple of 32 numbers"):
        check_method("reno", ReNO(1, 1.0, "m", projection="both"), description)
    check_method("reno", ReNO(1, 1.0, "m"), description)
