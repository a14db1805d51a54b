import itertools
import math
from dataclasses import astuple

import numpy as np
import pytest

from npnet.metrics import resampling
from npnet.metrics.statistics import compare, holm, means, sign_flip_test, sign_test, wilson


def clustered(num_prompts, per_prompt, prompt_std, noise_std, mean=0.0, seed=0):
    """Scores whose prompts differ by ``prompt_std`` and whose pictures differ by ``noise_std`` besides."""
    generator = np.random.default_rng(seed)
    prompts = [f"prompt {i}" for i in range(num_prompts) for _ in range(per_prompt)]
    level = np.repeat(generator.normal(mean, prompt_std, num_prompts), per_prompt)
    return level + generator.normal(0, noise_std, len(prompts)), prompts


def test_a_method_against_itself_never_wins_always_ties_and_gains_nothing():
    scores, prompts = clustered(20, 3, 1, 1)
    found = compare(scores, scores, prompts)[0]
    assert (found.winning_rate, found.ties, found.mean_difference) == (0.0, 1.0, 0.0)
    assert found.interval[0] == 0 <= found.interval[1] < 0.2
    assert found.difference_interval[0] <= 0 <= found.difference_interval[1]
    assert found.p_value == found.sign_test_p_value == 1.0
    assert (found.count, found.num_prompts, found.wins, found.losses) == (60, 20, 0, 0)


def test_the_numbers_of_a_small_comparison_are_those_counted_by_hand():
    found = compare([3.0, 1.0, 2.0, 5.0], [1.0, 2.0, 2.0, 1.0], ["a", "a", "b", "c"])[0]
    assert (found.wins, found.losses, found.count, found.num_prompts) == (2, 1, 4, 3)
    assert (found.winning_rate, found.ties, found.mean_difference) == (0.5, 0.25, 1.25)


def test_the_other_side_of_a_comparison_is_its_mirror():
    scores, prompts = clustered(30, 2, 1, 1)
    others, _ = clustered(30, 2, 1, 1, mean=0.4, seed=1)
    ours, theirs = compare(scores, others, prompts)[0], compare(others, scores, prompts)[0]
    assert (ours.wins, ours.losses) == (theirs.losses, theirs.wins)
    assert ours.mean_difference == pytest.approx(-theirs.mean_difference)
    assert ours.difference_interval == pytest.approx([-end for end in reversed(theirs.difference_interval)], abs=1e-9)
    assert ours.p_value == pytest.approx(theirs.p_value)
    assert ours.sign_test_p_value == pytest.approx(theirs.sign_test_p_value)


def test_intervals_are_wider_over_prompts_than_over_pictures_when_prompts_dominate():
    scores, prompts = clustered(40, 10, prompt_std=1.0, noise_std=0.1)
    over_prompts = means(scores, prompts)[0].interval
    over_pictures = means(scores, [str(i) for i in range(len(prompts))])[0].interval
    assert over_prompts[1] - over_prompts[0] > 2.5 * (over_pictures[1] - over_pictures[0])


def test_intervals_agree_with_the_normal_theory_on_many_independent_pictures():
    scores, prompts = clustered(800, 1, 0, 1)
    low, high = means(scores, prompts)[0].interval
    assert high - low == pytest.approx(2 * 1.96 * scores.std(ddof=1) / math.sqrt(800), rel=0.05)


@pytest.mark.parametrize("num_prompts", [8, 40])
def test_the_interval_of_a_difference_covers_the_truth_about_95_times_in_100(num_prompts):
    tries = 400
    covered = 0
    for seed in range(tries):
        scores, prompts = clustered(num_prompts, 3, 0.5, 1, mean=0.2, seed=seed)
        low, high = compare(scores, np.zeros_like(scores), prompts, num_resamples=600)[0].difference_interval
        covered += low <= 0.2 <= high
    assert 0.92 <= covered / tries <= 0.985


def test_the_p_value_is_small_one_time_in_twenty_where_there_is_no_difference():
    tries = 600
    sums = np.random.default_rng(5).normal(size=(25, tries))
    share = (sign_flip_test(sums, 600) < 0.05).mean()
    assert 0.03 <= share <= 0.075


def test_all_sign_patterns_are_visited_for_few_prompts():
    sums = np.array([1.5, -0.2, 2.0, 0.7])
    patterns = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=4)]
    exact = np.mean([value >= abs(sums.sum()) - 1e-12 for value in patterns])
    assert sign_flip_test(sums[:, None])[0] == exact


def test_random_sign_patterns_agree_with_all_of_them():
    sums = np.random.default_rng(1).normal(0.4, 1, size=(12, 3))
    exact = sign_flip_test(sums)
    padded = np.vstack([sums, np.full((4, 3), 1e-13)])  # too many rows for the exact way, and no weight in them
    assert sign_flip_test(padded, 20_000) == pytest.approx(exact, abs=0.012)


def test_pictures_of_one_prompt_do_not_make_a_difference_more_certain():
    difference, prompts = np.repeat([1.0, 1.0, -0.2, 0.5], 50), [name for name in "abcd" for _ in range(50)]
    once = compare([1.0, 1.0, -0.2, 0.5], np.zeros(4), list("abcd"))[0]
    often = compare(difference, np.zeros(200), prompts)[0]
    assert often.p_value == once.p_value
    assert often.sign_test_p_value == once.sign_test_p_value
    assert often.difference_interval == pytest.approx(once.difference_interval)


def test_the_sign_test_is_the_binomial_sum_over_decided_pairs():
    wins, losses = 9, 3
    tail = sum(math.comb(12, k) for k in range(9, 13)) / 2**12
    assert sign_test(wins, losses) == pytest.approx(2 * tail)
    assert sign_test(3, 9) == pytest.approx(2 * tail)
    assert sign_test(0, 0) == 1.0
    found = compare([1.0] * 9 + [0.0] * 8, [0.0] * 9 + [1.0] * 3 + [0.0] * 5, [str(i) for i in range(17)])[0]
    assert found.sign_test_p_value == pytest.approx(2 * tail)


def test_holm_is_the_correction_done_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == pytest.approx([0.02])
    corrected = holm([0.02, float("nan"), 0.03])
    assert corrected[[0, 2]] == pytest.approx([0.04, 0.04])
    assert math.isnan(corrected[1])


def test_wilson_is_the_published_formula():
    z, share, count = 1.959964, 0.3, 10
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    assert wilson(3, 10) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_rate_of_one_does_not_claim_certainty():
    prompts = [str(i) for i in range(12)]
    right = means(np.ones(12), prompts)[0]
    assert right.mean == 1.0
    assert right.interval[0] < 0.8
    assert right.interval[1] == 1.0
    assert compare(np.ones(12), np.zeros(12), prompts)[0].interval[0] < 0.8


def test_the_order_of_the_samples_changes_nothing():
    scores, prompts = clustered(25, 4, 1, 1)
    others, _ = clustered(25, 4, 1, 1, seed=3)
    order = np.random.default_rng(0).permutation(len(prompts))
    before = compare(scores, others, prompts)[0]
    after = compare(scores[order], others[order], [prompts[i] for i in order])[0]
    assert after.interval == before.interval
    assert after.difference_interval == pytest.approx(before.difference_interval, abs=1e-12)
    assert after.p_value == before.p_value


def test_the_same_scores_give_the_same_numbers():
    scores, prompts = clustered(25, 4, 1, 1)
    assert means(scores, prompts) == means(scores, prompts)
    assert compare(scores, -scores, prompts) == compare(scores, -scores, prompts)


def test_rows_computed_together_are_the_rows_computed_alone():
    scores, prompts = clustered(30, 2, 1, 1)
    others, _ = clustered(30, 2, 1, 1, seed=1)
    together = compare(np.stack([scores, others]), np.stack([others, scores]), prompts)
    assert together[0].difference_interval == pytest.approx(compare(scores, others, prompts)[0].difference_interval)
    assert together[1].interval == pytest.approx(compare(others, scores, prompts)[0].interval)


def test_blocks_of_draws_do_not_change_their_kind(monkeypatch):
    scores, prompts = clustered(30, 2, 1, 1)
    whole = means(scores, prompts, 4000)[0].interval
    monkeypatch.setattr(resampling, "BLOCK_ELEMENTS", 500)
    assert means(scores, prompts, 4000)[0].interval == pytest.approx(whole, abs=0.03)


def test_a_single_prompt_is_resampled_by_its_pictures():
    scores, _ = clustered(1, 30, 1, 1)
    alone = means(scores, ["one prompt"] * 30)[0]
    assert alone.interval == means(scores, [f"{i:02d}" for i in range(30)])[0].interval
    assert compare(scores, scores - 1, ["one prompt"] * 30)[0].num_prompts == 1


def test_a_single_pair_has_no_interval_of_means():
    found = compare([0.3], [0.2], ["a"])[0]
    assert all(math.isnan(end) for end in found.difference_interval)
    assert found.p_value == 1.0
    assert all(math.isnan(end) for end in means([0.3], ["a"])[0].interval)


def test_a_missing_score_is_counted_and_stays_out_of_the_sums():
    scores = np.array([[1.0, math.nan, 3.0, math.inf], [1.0, 1.0, 1.0, 2.0]])
    first, second = means(scores, list("abcd"))
    assert (first.mean, first.count, first.missing) == (2.0, 2, 2)
    assert (second.mean, second.count, second.missing) == (1.25, 4, 0)
    found = compare(scores, np.zeros_like(scores), list("abcd"))
    assert (found[0].count, found[0].missing, found[0].num_prompts, found[0].wins) == (2, 2, 2, 2)
    assert (found[0].mean_difference, found[1].mean_difference) == (2.0, 1.25)


def test_nothing_but_missing_scores_gives_no_number():
    found = compare([math.nan, math.nan], [1.0, 1.0], ["a", "b"])[0]
    assert (found.count, found.missing) == (0, 2)
    assert math.isnan(found.winning_rate)
    assert math.isnan(found.p_value)


@pytest.mark.parametrize(("scores", "prompts"), [([1.0, 2.0], ["a"]), ([], []), ([[[[1.0]]]], ["a"])])
def test_scores_without_their_prompts_are_refused(scores, prompts):
    with pytest.raises(ValueError, match="one prompt for each"):
        means(scores, prompts)


def test_scores_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        compare([[1.0], [2.0]], [[1.0]], ["a"])


def several_seeds(num_seeds=3):
    scores, prompts = clustered(20, 2, 1, 1)
    generator = np.random.default_rng(7)
    rows, others = (scores + generator.normal(0.1, 1, (num_seeds, len(scores))) for _ in range(2))
    return rows, others, prompts


def test_equal_training_seeds_count_as_one():
    a, prompts = clustered(20, 2, 1, 1)
    b, _ = clustered(20, 2, 1, 1, mean=0.3, seed=1)
    three, one = (astuple(found[0]) for found in (compare([[a] * 3], [[b] * 3], prompts), compare(a, b, prompts)))
    for ours, theirs in zip(three, one, strict=True):
        assert ours == pytest.approx(theirs)


def test_training_seeds_are_averaged_pair_by_pair_and_a_pair_counts_once():
    rows, others, prompts = several_seeds()
    pooled = compare(rows[None], others[None], prompts)[0]
    single = compare(rows, others, prompts)
    assert pooled.count == single[0].count == len(prompts)
    for name in ("mean_difference", "winning_rate", "ties", "wins", "losses"):
        assert getattr(pooled, name) == pytest.approx(np.mean([getattr(one, name) for one in single]))
    averaged = compare(rows.mean(0), others.mean(0), prompts)[0]
    assert pooled.difference_interval == pytest.approx(averaged.difference_interval)
    assert pooled.p_value == pytest.approx(averaged.p_value)
    assert means(rows[None], prompts)[0].interval == pytest.approx(means(rows.mean(0), prompts)[0].interval)


def test_training_seeds_are_paired_and_their_order_says_nothing():
    rows, others, prompts = several_seeds()
    found = compare(rows[None], others[None], prompts)[0]
    turned = compare(rows[None, ::-1], others[None, ::-1], prompts)[0]
    assert turned.winning_rate == pytest.approx(found.winning_rate)
    assert turned.interval == pytest.approx(found.interval)
    crossed = compare(rows[None, ::-1], others[None], prompts)[0]
    assert crossed.mean_difference == pytest.approx(found.mean_difference)
    assert crossed.winning_rate != found.winning_rate


def test_a_pair_that_one_training_seed_lacks_is_missing():
    rows, others, prompts = several_seeds()
    rows[1, 5] = math.nan
    found = compare(rows[None], others[None], prompts)[0]
    assert (found.count, found.missing) == (len(prompts) - 1, 1)
    assert means(rows[None], prompts)[0].missing == 1


def test_a_rate_at_its_end_is_as_sure_as_its_prompts_are_many():
    prompts = [text for text in "abc" for _ in range(4)]
    assert means([np.ones(12), np.zeros(12)], prompts)[0].interval == wilson(3, 3)
    assert means(np.zeros(12), prompts)[0].interval == wilson(0, 3)
