"""The statistics of a comparison: means, winning rates, paired differences, their confidence intervals and tests.

Pictures of one prompt resemble each other. So the bootstrap resamples **prompts** with all their pictures (clusters),
never single pictures. Where there is only one prompt, its pictures are resampled, and the interval holds for that
prompt alone.

- Intervals are 95 % percentile intervals of a bootstrap over prompts. Every statistic is a ratio of cluster sums. For
  few prompts, the quantiles are widened (expanded percentile interval: Hesterberg 2015, "What teachers should know
  about the bootstrap", section 4.4). Without this, an interval from 10 prompts would cover about 90 %. A rate of 0 or 1
  has no spread to resample, and gets Wilson's interval for the number of prompts.
- ``p_value`` is a sign-flip permutation test over prompts of the mean paired difference, two-sided: if the two methods
  are exchangeable, the sum of a prompt's differences could as well have the other sign. Up to ``EXACT_CLUSTERS``
  prompts, all sign patterns are used; above, random ones.
- The winning rate is strict: a tie is not a win. If a metric often ties (right or wrong), a better method can have a
  winning rate far below one half. So a method is called better only because of the paired difference or the sign test.
- A score that is NaN or infinite is left out of the sums and counted as ``missing``.

Draws come from numpy generators with fixed, named seeds, so the same scores give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from npnet.metrics.resampling import UNKNOWN, Floats, Interval, blocks, ratio_intervals

NUM_RESAMPLES = 10_000
EXACT_CLUSTERS = 13
"""Up to so many prompts all 2**n sign patterns are visited."""


@dataclass(frozen=True)
class Mean:
    """A mean over ``count`` finite scores, of ``count + missing``, with its 95 % interval over prompts."""

    mean: float
    interval: Interval
    count: int
    missing: int


@dataclass(frozen=True)
class Comparison:
    """One method against another on the same pairs; ``interval`` is the winning rate's.

    Shares are of the ``count`` pairs where both scores are finite; ``missing`` counts the others. ``p_value`` is not
    corrected for several metrics: see ``holm``. Wins and losses are whole numbers unless training seeds were averaged.
    """

    count: int
    num_prompts: int
    missing: int
    wins: float
    losses: float
    winning_rate: float
    ties: float
    interval: Interval
    mean_difference: float
    difference_interval: Interval
    p_value: float
    sign_test_p_value: float


def means(scores: ArrayLike, prompts: Sequence[str], num_resamples: int = NUM_RESAMPLES) -> list[Mean]:
    """Average M rows of scores of the same N pictures.

    Args:
        scores: ``(M, N)``, or ``(N,)`` for one row; or ``(M, S, N)``, S of each picture, which are averaged first.
        prompts: the N pictures' prompts; equal texts form one cluster.
        num_resamples: of prompts, for the intervals.

    Raises:
        ValueError: the lengths differ, or there are no pictures.
    """
    rows, index = _rows_and_clusters(scores, prompts)
    rows = rows.mean(axis=1) if rows.ndim == 3 else rows
    finite = np.isfinite(rows)
    sums, counts = _cluster_sums(np.where(finite, rows, 0.0), index), _cluster_sums(finite, index)
    intervals = ratio_intervals(sums, counts, num_resamples)
    results = []
    for row, valid, interval, count in zip(rows, finite, intervals, counts.sum(axis=0), strict=True):
        mean = float(row[valid].mean()) if count else float("nan")
        if count and mean in (0.0, 1.0) and np.isin(row[valid], (0.0, 1.0)).all():  # a rate at its end
            clusters = len(np.unique(index[valid]))
            interval = wilson(round(mean) * clusters, clusters)
        results.append(Mean(mean, interval, int(count), int(len(row) - count)))
    return results


def ratios(
    numerators: ArrayLike, denominators: ArrayLike, prompts: Sequence[str], num_resamples: int = NUM_RESAMPLES
) -> list[tuple[float, Interval]]:
    """Return ``sum(numerators) / sum(denominators)`` and its 95 % interval, row by row; NaN without a denominator.

    Args:
        numerators: ``(M, N)`` of N pairs; a pair counts where both numbers are finite.
        denominators: the same.
        prompts: the N pairs' prompts; equal texts form one cluster.
        num_resamples: of prompts, for the intervals.

    Raises:
        ValueError: the lengths differ, or there is no pair.
    """
    above, index = _rows_and_clusters(numerators, prompts)
    below, _ = _rows_and_clusters(denominators, prompts)
    finite = np.isfinite(above) & np.isfinite(below)
    sums, counts = (_cluster_sums(np.where(finite, rows, 0.0), index) for rows in (above, below))
    found = [(float("nan"), UNKNOWN)] * len(above)
    defined = np.flatnonzero(counts.sum(axis=0))
    if len(defined):
        intervals = ratio_intervals(sums[:, defined], counts[:, defined], num_resamples)
        for row, interval in zip(defined, intervals, strict=True):
            found[row] = float(sums[:, row].sum() / counts[:, row].sum()), interval
    return found


def compare(
    scores: ArrayLike, others: ArrayLike, prompts: Sequence[str], num_resamples: int = NUM_RESAMPLES
) -> list[Comparison]:
    """Compare M rows of scores with M rows of another method's on the same N pairs (same prompt, same noise).

    Args:
        scores: ``(M, N)``, or ``(N,)`` for one row; or ``(M, S, N)``, S for each pair (training seeds), whose
            differences, wins and losses are averaged first, so that a pair counts once.
        others: the other method's, of the same shape.
        prompts: the N pairs' prompts; equal texts form one cluster.
        num_resamples: of prompts, for the intervals, and of sign patterns, for the test.

    Raises:
        ValueError: the shapes differ, or there is no pair.
    """
    rows, index = _rows_and_clusters(scores, prompts)
    baseline, _ = _rows_and_clusters(others, prompts)
    if rows.shape != baseline.shape:
        raise ValueError(f"paired scores must have one shape, got {rows.shape} and {baseline.shape}")
    if rows.ndim == 2:
        rows, baseline = rows[:, None], baseline[:, None]
    number = int if rows.shape[1] == 1 else float
    finite: NDArray[np.bool_] = np.asarray((np.isfinite(rows) & np.isfinite(baseline)).all(axis=1))
    left, right = (np.where(finite[:, None], side, 0.0) for side in (rows, baseline))
    differences, won, lost = (values.mean(axis=1) for values in (left - right, left > right, left < right))
    counts = _cluster_sums(finite, index)
    wins, losses, sums = (_cluster_sums(values, index) for values in (won, lost, differences))
    intervals = ratio_intervals(np.hstack([wins, sums]), np.hstack([counts, counts]), num_resamples)
    rate_intervals, difference_intervals = intervals[: len(rows)], intervals[len(rows) :]
    p_values = sign_flip_test(sums, num_resamples)
    several = len(set(prompts)) > 1  # the pictures of a single prompt are clusters of their own

    results = []
    for m in range(len(rows)):
        count, num_wins, num_losses = (table[:, m].sum().item() for table in (counts, wins, losses))
        clusters = int((counts[:, m] > 0).sum())
        rate_interval = rate_intervals[m]
        if count and num_wins in (0, count):
            rate_interval = wilson(clusters if num_wins else 0, clusters)
        decided = np.sign(wins[:, m] - losses[:, m])
        results.append(
            Comparison(
                count=int(count),
                num_prompts=clusters if several else min(clusters, 1),
                missing=int(len(finite[m]) - count),
                wins=number(num_wins),
                losses=number(num_losses),
                winning_rate=num_wins / count if count else float("nan"),
                ties=(count - num_wins - num_losses) / count if count else float("nan"),
                interval=rate_interval,
                mean_difference=float(differences[m][finite[m]].mean()) if count else float("nan"),
                difference_interval=difference_intervals[m],
                p_value=float(p_values[m]) if count else float("nan"),
                sign_test_p_value=sign_test(int((decided > 0).sum()), int((decided < 0).sum())),
            )
        )
    return results


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact sign test; ties are left out, and without a decision it is 1.

    ``compare`` counts decided prompts (more pairs won than lost, or fewer): with one pair for each prompt, these are
    the decided pairs; with more, pairs of one prompt must not count as independent.
    """
    return float(stats.binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0


def sign_flip_test(cluster_sums: ArrayLike, num_resamples: int = NUM_RESAMPLES) -> Floats:
    """Return the two-sided p-values ``(M,)`` that the sum of each column of ``(K, M)`` cluster sums is 0.

    Random patterns count the observed one among them (Phipson & Smyth 2010), so p is never 0.
    """
    sums = np.asarray(cluster_sums, dtype=np.float64)
    observed = np.abs(sums.sum(axis=0)) - 1e-9 * np.abs(sums).sum(axis=0)  # ties of rounding count as equal
    if (sums != 0).any(axis=1).sum() <= EXACT_CLUSTERS:
        sums = sums[(sums != 0).any(axis=1)]
        patterns = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return (np.abs((2 * patterns - 1) @ sums) >= observed).mean(axis=0)
    hits = np.ones(sums.shape[1])
    for generator, size in blocks("signs of prompts", len(sums), num_resamples):
        signs = 2.0 * generator.integers(0, 2, size=(size, len(sums)), dtype=np.int8) - 1.0
        hits += (np.abs(signs @ sums) >= observed).sum(axis=0)
    return hits / (num_resamples + 1)


def holm(p_values: ArrayLike) -> Floats:
    """Return p-values corrected for several metrics (Holm 1979); NaN stays NaN and is not counted."""
    values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return corrected


def wilson(successes: int, count: int) -> Interval:
    """Return Wilson's 95 % score interval of a rate of independent trials; (0, 1) without any."""
    if count == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def _rows_and_clusters(scores: ArrayLike, prompts: Sequence[str]) -> tuple[Floats, NDArray[np.intp]]:
    """Return the scores and the cluster ``(N,)`` of each picture: its prompt, or itself for a single prompt."""
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if rows.ndim > 3 or rows.shape[-1] != len(prompts) or not len(prompts):
        got = f"{rows.shape} and {len(prompts)} prompts"
        raise ValueError(f"scores must be (M, N) or (M, S, N) with one prompt for each of N > 0, got {got}")
    numbers = {prompt: number for number, prompt in enumerate(sorted(set(prompts)))}
    if len(numbers) == 1:
        return rows, np.arange(len(prompts))
    return rows, np.array([numbers[prompt] for prompt in prompts])


def _cluster_sums(values: NDArray, index: NDArray[np.intp]) -> Floats:
    """Sum ``(M, N)`` values over clusters: ``(K, M)``."""
    return np.stack([np.bincount(index, weights=row.astype(np.float64)) for row in values], axis=1)
