"""Bootstrap intervals of ratios of cluster sums, and the named blocks of draws; see ``statistics``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Interval = tuple[float, float]
"""Low and high end of a 95 % interval; NaN where a single value says nothing about spread."""
BLOCK_ELEMENTS = 4_000_000
"""Elements of the largest array of draws held at once (32 MB)."""
UNKNOWN: Interval = (float("nan"), float("nan"))


def ratio_intervals(sums: Floats, counts: Floats, num_resamples: int) -> list[Interval]:
    """Return the intervals of ``sums / counts``, both ``(K, M)``, under resampling of the K clusters."""
    num_clusters, num_columns = sums.shape
    draws = np.empty((num_resamples, num_columns))
    # metrics of the same pictures have the same counts: whole numbers, whose sums are exact however they are grouped
    places: dict[bytes, int] = {}
    column = [places.setdefault(own.tobytes(), len(places)) for own in counts.T]
    distinct = counts[:, np.unique(column, return_index=True)[1]]
    start = 0
    for generator, size in blocks("resampled prompts", num_clusters, num_resamples):
        chosen = generator.integers(0, num_clusters, size=(size, num_clusters))
        chosen += num_clusters * np.arange(size)[:, None]
        weights = np.bincount(chosen.ravel(), minlength=size * num_clusters).reshape(size, num_clusters)
        weights = weights.astype(np.float64)  # once: a product with whole numbers would convert them each time
        with np.errstate(invalid="ignore"):  # a resample without any finite score is no value
            draws[start : start + size] = (weights @ sums) / (weights @ distinct)[:, column]
        start += size
    return [_interval(draws[:, m], int((counts[:, m] > 0).sum())) for m in range(num_columns)]


def _interval(draws: Floats, num_clusters: int) -> Interval:
    """Return the expanded percentile interval of bootstrap ``draws`` over ``num_clusters``."""
    if num_clusters < 2:
        return UNKNOWN
    widened = np.sqrt(num_clusters / (num_clusters - 1)) * stats.t.ppf(0.025, num_clusters - 1)
    tail = stats.norm.cdf(widened)
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def blocks(purpose: str, width: int, total: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Yield the named generator with block sizes that add up to ``total`` rows of ``width`` elements."""
    generator = np.random.default_rng(list(purpose.encode()))
    block = max(1, BLOCK_ELEMENTS // width)
    for start in range(0, total, block):
        yield generator, min(block, total - start)
