"""Small samples by hand: the expanded interval, and the p-value of the most extreme outcome."""

import math

import numpy as np
import pytest
from scipy import stats

from npnet.metrics.resampling import _interval
from npnet.metrics.statistics import sign_flip_test

STUDENT = {4: 3.182, 5: 2.776, 8: 2.365}
"""97.5 % points of Student's t with one degree of freedom less, from the printed table."""


@pytest.mark.parametrize("num_clusters", STUDENT)
def test_the_interval_of_few_prompts_is_that_of_student_widened_by_their_number(num_clusters):
    draws = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    low, high = _interval(draws, num_clusters)
    reach = math.sqrt(num_clusters / (num_clusters - 1)) * STUDENT[num_clusters]
    assert (low, high) == pytest.approx((-reach, reach), abs=0.02)


def test_the_observed_signs_count_as_one_of_the_patterns_so_that_p_is_never_zero():
    always_better = np.linspace(1, 2, 20)[:, None]
    assert sign_flip_test(always_better, 999) == pytest.approx([1 / 1000])
