import itertools
import math

import numpy as np
import pytest
from scipy import stats

from medgan.evaluation.statistics import (
    NUM_PERMUTATIONS,
    bland_altman,
    holm,
    mean_interval,
    median_interval,
    permutation_test,
    rank_biserial,
    wilcoxon_test,
)

DARWIN = [
    49,
    -67,
    8,
    16,
    6,
    23,
    28,
    41,
    14,
    29,
    56,
    24,
    75,
    60,
    -48,
]  # Fisher 1935: crossed minus self-fertilised maize


def drawn(n, *, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, n)


def test_interval_of_the_mean_is_that_of_normal_theory_for_many_values():
    values = np.random.default_rng(3).normal(10, 2, size=400)
    low, high = mean_interval(values)
    half_width = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half_width, values.mean() + half_width), abs=0.03)


def test_interval_of_the_mean_is_that_of_all_resamples_of_two_values():
    assert mean_interval([0.0, 1.0]) == (0.0, 1.0)  # means 0, 1/2, 1 with chances 1/4, 1/2, 1/4


def test_interval_of_the_mean_is_scipys_at_the_expanded_level():
    values = drawn(10)
    level = 1 - 2 * stats.norm.cdf(-stats.t.ppf(0.975, 9) * math.sqrt(10 / 9))
    drawn_by_scipy = stats.bootstrap((values,), np.mean, confidence_level=level, method="percentile", rng=1)
    expected = drawn_by_scipy.confidence_interval
    assert mean_interval(values) == pytest.approx((expected.low, expected.high), abs=0.05)
    assert level == pytest.approx(0.983, abs=0.001)


def test_interval_of_the_mean_of_ten_cases_holds_the_mean_nearly_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(0, 1, 10)) for _ in range(400)]
    assert 0.92 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.97  # plain percentiles: 0.90


def test_interval_of_the_mean_depends_on_values_and_seed_alone():
    assert mean_interval(drawn(12), seed=1) == mean_interval(drawn(12), seed=1)
    assert mean_interval(drawn(12), seed=1) != mean_interval(drawn(12), seed=2)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval(values):
    assert np.isnan(mean_interval(values)).all()


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (50, 18)])  # published tables
def test_interval_of_the_median_lies_between_the_tabulated_order_statistics(n, rank):
    values = np.random.default_rng(0).permutation(n) + 1.0
    assert median_interval(values) == (rank, n + 1 - rank)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_fewer_than_six_values_have_no_interval_of_the_median(n):
    assert np.isnan(median_interval(np.arange(n))).all()


def test_permutation_test_of_darwins_maize_is_the_published_one():
    assert permutation_test(DARWIN) == 1726 / 2**15  # Fisher 1935, section 21: 863 of each tail


def test_exact_permutation_test_counts_all_signs():
    assert permutation_test([1.0, 2.0, 3.0]) == 2 / 8  # only +++ and --- reach 6
    assert permutation_test([1.0, 2.0, -3.0]) == 1.0  # every sum is as far from 0 as 0 is
    assert permutation_test([1.0, 1.0, 1.0, -1.0]) == 10 / 16  # sums of 4, -4 (1 each), 2, -2 (4 each)


def test_sampled_permutation_test_is_near_the_exact_one():
    values = drawn(16, seed=5, shift=0.4)
    signs = np.array(list(itertools.product((-1, 1), repeat=16)))
    exact = np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-12)
    assert permutation_test(values) == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / NUM_PERMUTATIONS))
    assert permutation_test(values, seed=1) != permutation_test(values, seed=2)


def test_sampled_permutation_test_is_never_zero():
    assert permutation_test(np.full(40, 1.0)) == 1 / (NUM_PERMUTATIONS + 1)


@pytest.mark.parametrize("n", [1, 9, 15, 16, 40, 60])
def test_swapping_sides_keeps_p_and_turns_the_effect(n):
    values = drawn(n, seed=n, shift=0.3)
    assert permutation_test(values) == permutation_test(-values)
    assert wilcoxon_test(values) == pytest.approx(wilcoxon_test(-values), rel=1e-12)
    assert rank_biserial(values) == -rank_biserial(-values)


@pytest.mark.parametrize("n", [3, 10, 15, 16, 30, 50])
def test_wilcoxon_without_ties_is_scipys_exact_one(n):
    values = drawn(n, seed=n, shift=0.4)
    assert wilcoxon_test(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue, rel=1e-12)


def test_wilcoxon_of_a_textbook_example():
    """Hollander and Wolfe 1973, p. 29: depression scores of nine patients before and after, as in R's wilcox.test."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    assert wilcoxon_test(after - before) == 0.0390625


def test_wilcoxon_with_ties_is_exact_for_few_pairs():
    assert wilcoxon_test([1.0, 1.0, 1.0, -1.0]) == 10 / 16  # ranks all 2.5
    assert wilcoxon_test([0.5, 0.5, 2.0]) == 2 / 8


def test_wilcoxon_with_ties_and_many_pairs_is_rs_normal_approximation():
    """As wilcox.test(x, exact = FALSE) of R has it: ties and continuity corrected."""
    values = np.repeat([1.0, 2.0, 3.0, -1.0], [10, 8, 6, 6])
    ranks = {1.0: 8.5, 2.0: 20.5, 3.0: 27.5}
    statistic = 10 * ranks[1.0] + 8 * ranks[2.0] + 6 * ranks[3.0]
    n = 30
    variance = n * (n + 1) * (2 * n + 1) / 24 - (16**3 - 16 + 8**3 - 8 + 6**3 - 6) / 48
    z = (abs(statistic - n * (n + 1) / 4) - 0.5) / math.sqrt(variance)
    assert wilcoxon_test(values) == pytest.approx(2 * stats.norm.sf(z), rel=1e-9)


def test_differences_of_zero_are_dropped_by_wilcoxon():
    assert wilcoxon_test([0.0, 0.0, 1.0, 2.0, 3.0]) == wilcoxon_test([1.0, 2.0, 3.0]) == 2 / 8


@pytest.mark.parametrize("n", [1, 12, 40])
def test_nothing_but_equal_pairs_has_p_one_and_no_effect(n):
    zeros = np.zeros(n)
    assert (permutation_test(zeros), wilcoxon_test(zeros), rank_biserial(zeros)) == (1.0, 1.0, 0.0)


def test_no_pairs_have_no_p_and_no_effect():
    assert np.isnan([permutation_test([]), wilcoxon_test([]), rank_biserial([])]).all()


def test_rank_biserial_is_the_balance_of_ranks():
    assert rank_biserial([1.0, 2.0, 4.0]) == 1.0
    assert rank_biserial([1.0, -2.0, 4.0]) == pytest.approx((1 + 3 - 2) / 6)
    assert rank_biserial([-1.0, 1.0, 0.0]) == 0.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_holm_leaves_out_what_was_not_tested():
    corrected = holm([math.nan, 0.02, 0.03])
    assert math.isnan(corrected[0])
    assert corrected[1:] == pytest.approx([0.04, 0.04])


def test_bland_altman_by_hand():
    agreement = bland_altman([12.0, 9.0, 33.0], [10.0, 10.0, 30.0])  # differences 2, -1, 3
    sd = math.sqrt(((2 - 4 / 3) ** 2 + (-1 - 4 / 3) ** 2 + (3 - 4 / 3) ** 2) / 2)
    assert (agreement.n, agreement.bias, agreement.sd) == (3, pytest.approx(4 / 3), pytest.approx(sd))
    assert (agreement.lower, agreement.upper) == pytest.approx((4 / 3 - 1.959964 * sd, 4 / 3 + 1.959964 * sd))
    assert agreement.bias_high - agreement.bias == pytest.approx(4.302653 * sd / math.sqrt(3))


def test_bland_altman_gives_the_intervals_its_authors_published():
    """Bland and Altman 1999, 2.1: 85 pairs, bias -16.29 and sd 19.61 mmHg; their 1.96 for t makes 0.1 of difference."""
    unit = np.linspace(-1, 1, 85)
    differences = -16.29 + unit / unit.std(ddof=1) * 19.61
    agreement = bland_altman(differences, np.zeros(85))
    assert (agreement.lower, agreement.upper) == pytest.approx((-54.7, 22.1), abs=0.06)
    assert (agreement.lower_low, agreement.lower_high) == pytest.approx((-61.9, -47.5), abs=0.15)
    assert (agreement.upper_low, agreement.upper_high) == pytest.approx((14.9, 29.3), abs=0.15)


def test_bland_altman_of_fewer_than_two_pairs_has_no_limits():
    assert bland_altman([], []).n == 0
    one = bland_altman([3.0], [1.0])
    assert (one.n, one.bias) == (1, 2.0)
    assert np.isnan([one.sd, one.lower, one.upper, one.bias_low, one.upper_high]).all()


def test_bland_altman_of_equal_differences_is_a_point():
    agreement = bland_altman([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    assert (agreement.bias, agreement.sd, agreement.lower, agreement.upper_high) == (1.0, 0.0, 1.0, 1.0)
