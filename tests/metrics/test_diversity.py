"""Laws of diversity: what the measures say where the answer is known."""

import math

import pytest
import torch

from npnet.metrics.diversity import (
    by_prompt,
    cosine_similarity,
    gaussian_similarity,
    mean_pairwise_distance,
    vendi_score,
)

FEATURES = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_equal_pictures_count_as_one_and_orthogonal_ones_as_many(count):
    assert vendi_score(cosine_similarity(FEATURES[:1].expand(count, -1))) == pytest.approx(1)
    assert vendi_score(cosine_similarity(torch.eye(count))) == pytest.approx(count)


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_of_every_picture_do_not_change_the_vendi_score(copies):
    once = vendi_score(gaussian_similarity(FEATURES, 1.0))
    assert vendi_score(gaussian_similarity(FEATURES.repeat(copies, 1), 1.0)) == pytest.approx(once)
    assert 1 < once < len(FEATURES)


@pytest.mark.parametrize("similarity", [0.0, 0.3, 1.0])
def test_two_pictures_have_the_entropy_of_their_two_eigenvalues(similarity):
    matrix = torch.tensor([[1.0, similarity], [similarity, 1.0]])
    shares = [(1 + similarity) / 2, (1 - similarity) / 2]
    expected = math.exp(-sum(share * math.log(share) for share in shares if share > 0))
    assert vendi_score(matrix) == pytest.approx(expected, abs=1e-6)


def test_the_order_of_pictures_and_a_turn_or_shift_of_the_space_change_nothing():
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1))).Q
    other = (FEATURES @ turn + 5.0)[torch.tensor([3, 1, 5, 0, 2, 4])]
    assert mean_pairwise_distance(other) == pytest.approx(mean_pairwise_distance(FEATURES), rel=1e-5)
    same = vendi_score(gaussian_similarity(FEATURES, 2.0))
    assert vendi_score(gaussian_similarity(other, 2.0)) == pytest.approx(same, rel=1e-5)


def test_a_wider_kernel_sees_fewer_different_pictures_from_all_to_one():
    scores = [vendi_score(gaussian_similarity(FEATURES, width)) for width in (1e-3, 0.5, 1.0, 4.0, 1e4)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(6)
    assert scores[-1] == pytest.approx(1, abs=1e-4)


def test_distance_is_the_mean_over_pairs_and_scales_with_the_space():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    expected = (4 * 1 + 2 * math.sqrt(2)) / 6
    assert mean_pairwise_distance(square) == pytest.approx(expected)
    assert mean_pairwise_distance(3 * square) == pytest.approx(3 * expected)
    assert mean_pairwise_distance(square[:1].expand(4, -1)) == 0
    assert math.isnan(mean_pairwise_distance(square[:1]))


def test_normal_features_are_as_far_apart_as_theory_says():
    features = torch.randn(400, 3, generator=torch.Generator().manual_seed(2))
    # |x - y| is sqrt(2) times a chi variable of three degrees of freedom, whose mean is sqrt(8 / pi)
    assert mean_pairwise_distance(features) == pytest.approx(4 / math.sqrt(math.pi), rel=0.03)


@pytest.mark.parametrize("matrix", [torch.ones(2, 3), torch.full((2, 2), math.nan), torch.zeros(2, 2)])
def test_what_is_no_similarity_is_refused(matrix):
    with pytest.raises(ValueError, match="similarit"):
        vendi_score(matrix)


def test_prompts_with_one_picture_have_no_diversity():
    assert by_prompt(["a", "b", "a", "c", "c"]) == {"a": [0, 2], "c": [3, 4]}
