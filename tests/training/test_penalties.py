"""What keeps a reward-trained network near N(0, I): closed forms."""

import math

import pytest
import torch

from npnet import seeding
from npnet.metrics.spaces import Pixels
from npnet.training.penalties import alikeness, jacobian_term, l2_penalty, norm_penalty

D = 12
"""Numbers of the small map's noise, as (3, 2, 2)."""


def signs(count, seed=0):
    generator = seeding.stream(seed, "signs of a test")
    return torch.randint(0, 2, (count, 3, 2, 2), generator=generator) * 2.0 - 1


def matrix(size, seed=1):
    found = torch.randn(D, D, generator=seeding.stream(seed, "map of a test"))
    return size * found / torch.linalg.matrix_norm(found, 2)


def term(jacobian, probes, powers):
    noise = torch.ones_like(probes).requires_grad_()
    change = (noise.flatten(1) @ jacobian.T).view_as(noise)
    return jacobian_term(change, noise, probes, powers)


def exact(jacobian):
    sign, logarithm = torch.linalg.slogdet(torch.eye(D) + jacobian)
    assert sign > 0
    return float(jacobian.trace() - logarithm) / D


def test_the_divergence_of_a_linear_map_is_the_closed_form_between_gaussians():
    jacobian, shift = matrix(0.4), torch.linspace(-1, 1, D)
    covariance = (torch.eye(D) + jacobian) @ (torch.eye(D) + jacobian).T
    between = (covariance.trace() + shift @ shift - D - torch.logdet(covariance)) / 2
    noise = torch.randn(20_000, 3, 2, 2, generator=seeding.stream(2, "noise of a test"))
    change = (noise.flatten(1) @ jacobian.T + shift).view_as(noise)
    ours = float(l2_penalty(change).mean()) + exact(jacobian)
    assert ours == pytest.approx(float(between) / D, rel=0.02)


@pytest.mark.parametrize("powers", [2, 3, 4, 8])
def test_of_a_diagonal_map_the_estimate_is_exact_but_for_the_cut(powers):
    values = torch.linspace(-0.5, 0.5, D)
    found = term(values.diag(), signs(1), powers)
    bound = 0.5 ** (powers + 1) / ((powers + 1) * 0.5)
    assert abs(float(found) - exact(values.diag())) <= bound
    series = sum((-1) ** k / k * values.pow(k).sum() for k in range(2, powers + 1)) / D
    assert float(found) == pytest.approx(float(series), abs=1e-6)


def test_of_any_map_the_estimate_is_right_on_average_and_near_the_exact_value():
    jacobian, probes = matrix(0.6), signs(4000)
    found = term(jacobian, probes, 12)
    standard_error = float(found.std()) / math.sqrt(len(probes))
    assert abs(float(found.mean()) - exact(jacobian)) < 4 * standard_error + 0.6**13 / (13 * 0.4)
    assert exact(jacobian) > 6 * standard_error  # it would show if it were left out


def test_samples_of_a_batch_do_not_mix_and_weights_get_the_gradient_of_the_series():
    scale = torch.tensor(0.3, requires_grad=True)
    noise = torch.randn(5, 3, 2, 2).requires_grad_()
    found = jacobian_term(scale * noise, noise, signs(5), 4)
    expected = 0.3**2 / 2 - 0.3**3 / 3 + 0.3**4 / 4
    assert torch.allclose(found, torch.full((5,), expected))
    (slope,) = torch.autograd.grad(found.mean(), scale)
    assert float(slope) == pytest.approx(0.3 - 0.3**2 + 0.3**3, rel=1e-5)


def test_a_map_that_ignores_the_noise_has_no_term_whatever_it_adds():
    noise = torch.randn(2, 3, 2, 2).requires_grad_()
    assert not jacobian_term(noise + 3 - noise, noise, signs(2), 4).any()


def test_the_norms_penalty_is_nothing_at_the_root_of_d_minus_1_and_something_beside_it():
    def of(norm):
        return float(norm_penalty(torch.full((1, 4, 8, 8), norm / 16)))

    assert of(math.sqrt(255)) == pytest.approx(0, abs=1e-3)
    assert of(10.0) > 1 < of(25.0)


def likeness(pictures, prompts):
    space = Pixels()
    return alikeness(space.load().features(pictures, prompts), prompts, space.kernel_width)


def test_alikeness_is_one_for_copies_zero_far_apart_and_ignores_other_prompts():
    black, white = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)

    def of(pictures, prompts):
        return float(likeness(torch.cat(pictures), prompts))

    assert of([black, black], ["a", "a"]) == pytest.approx(1)
    assert of([black, white], ["a", "a"]) < 1e-6
    assert of([black, black], ["a", "b"]) == 0
    assert of([black, black, black, white], ["a", "b", "a", "b"]) == pytest.approx(0.5)


def test_the_gradient_of_alikeness_drives_near_pictures_apart_and_is_finite_for_copies():
    pictures = torch.full((2, 3, 32, 32), 0.5)
    pictures[1, :, :16] += 0.02
    pictures.requires_grad_()
    (slope,) = torch.autograd.grad(likeness(pictures, ["a", "a"]), pictures)
    assert (slope[0, :, :16] > 0).all()  # less alike where the darker one gets darker
    assert (slope[1, :, :16] < 0).all()
    copies = torch.full((2, 3, 32, 32), 0.5, requires_grad=True)
    assert torch.isfinite(torch.autograd.grad(likeness(copies, ["a", "a"]), copies)[0]).all()
