"""What can be said from a sample of cases: intervals, paired tests, effect sizes, agreement.

Every function takes defined numbers: whoever calls it has left NaN out, and counted it. How to read the results, and
what they do not say, is written out in docs/statistics.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

NUM_RESAMPLES = 2000
MEAN_INTERVAL = f"95% expanded percentile bootstrap over cases, {NUM_RESAMPLES} resamples"
MIN_INTERVAL_CASES = 5  # with fewer, the interval of a mean holds it too rarely to be printed as one of 95%
NUM_PERMUTATIONS = 10_000
MAX_EXACT_PAIRS = 15  # 2^15 signs: all are tried
_MAX_EXACT_WILCOXON = 50  # as SciPy has it
_BLOCK_ELEMENTS = 1_000_000  # of a resampling at once: bounds memory
_Z95 = 1.959963984540054  # standard normal, 97.5%


@dataclass(frozen=True)
class Agreement:
    """Bland-Altman agreement of two measurements of the same cases, as prediction minus reference.

    Attributes:
        n: pairs; with fewer than two, everything below but `bias` is NaN.
        bias: mean difference.
        sd: standard deviation of the differences (n - 1).
        lower: lower 95% limit of agreement, bias - 1.96 sd.
        upper: upper one, bias + 1.96 sd.
        bias_low: lower end of the 95% interval of the bias.
        bias_high: its upper end.
        lower_low: lower end of the 95% interval of the lower limit.
        lower_high: its upper end.
        upper_low: lower end of the 95% interval of the upper limit.
        upper_high: its upper end.
    """

    n: int
    bias: float = math.nan
    sd: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    bias_low: float = math.nan
    bias_high: float = math.nan
    lower_low: float = math.nan
    lower_high: float = math.nan
    upper_low: float = math.nan
    upper_high: float = math.nan


def mean_interval(values: Sequence[float] | np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Return the 95% interval of the mean by expanded percentile bootstrap (Hesterberg 2015, Am Stat 69:371).

    `NUM_RESAMPLES` samples of n values are drawn with replacement; the interval lies between two percentiles of their
    means. The plain 2.5th and 97.5th are too narrow for few cases, as a resample varies less than a sample by a factor
    of (n - 1) / n and knows nothing of t; so the percentile is that of -t(n - 1) sqrt(n / (n - 1)) in the normal
    distribution: 0.1 for 5 cases, 0.9 for 10, 2.1 for 50. The ends never leave the range of the values, and depend on
    values, their order and the seed alone. Fewer than two values: NaN, NaN.
    """
    from scipy.special import ndtr  # noqa: PLC0415 - a tenth of a second that not every caller needs

    sample = np.asarray(values, dtype=float)
    n = sample.size
    if n < 2:
        return math.nan, math.nan
    tail = 100 * float(ndtr(-_t_quantile(n - 1) * math.sqrt(n / (n - 1))))
    low, high = np.percentile(_resampled_means(sample, seed), (tail, 100 - tail)).tolist()
    return low, high


def median_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the interval of the median between two order statistics, at least 95% whatever the distribution.

    Its ends are the k-th smallest and the k-th largest value, k as large as P(Binomial(n, 1/2) < k) <= 2.5% allows
    (Conover 1999, 3.2). Fewer than six values hold no such interval: NaN, NaN.
    """
    sample = np.sort(np.asarray(values, dtype=float))
    rank = _median_rank(sample.size)
    return (float(sample[rank - 1]), float(sample[-rank])) if rank else (math.nan, math.nan)


def bland_altman(prediction: Sequence[float] | np.ndarray, reference: Sequence[float] | np.ndarray) -> Agreement:
    """Return the bias and the 95% limits of agreement of pairs of measurements, each with its 95% interval.

    Intervals are those of Bland and Altman 1999 (Stat Methods Med Res 8:135): t with n - 1 degrees of freedom, variance
    of a limit s^2 (1/n + 1.96^2 / (2 (n - 1))). All differences equal: limits and intervals shrink to the bias.
    """
    differences = np.asarray(prediction, dtype=float) - np.asarray(reference, dtype=float)
    n = differences.size
    if n < 2:
        return Agreement(n, bias=float(differences[0])) if n else Agreement(0)
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    lower, upper = bias - _Z95 * sd, bias + _Z95 * sd
    quantile = _t_quantile(n - 1)
    of_bias = quantile * sd / math.sqrt(n)
    of_limit = quantile * sd * math.sqrt(1 / n + _Z95**2 / (2 * (n - 1)))
    return Agreement(
        n=n,
        bias=bias,
        sd=sd,
        lower=lower,
        upper=upper,
        bias_low=bias - of_bias,
        bias_high=bias + of_bias,
        lower_low=lower - of_limit,
        lower_high=lower + of_limit,
        upper_low=upper - of_limit,
        upper_high=upper + of_limit,
    )


def permutation_test(differences: Sequence[float] | np.ndarray, *, seed: int = 0) -> float:
    """Return the two-sided p value of the paired permutation (sign-flip) test of a mean difference of 0 (Fisher 1935).

    If the two sides are alike, each difference could as well have the other sign. Up to `MAX_EXACT_PAIRS` pairs all
    2^n signs are tried and p is the share with a mean as far from 0. With more, m = `NUM_PERMUTATIONS` are drawn, b
    reach as far, and p is (b + 1) / (m + 1), never 0 (Phipson and Smyth 2010). What is drawn goes with the order of
    the differences. All differences 0: 1. None: NaN.
    """
    sample = np.asarray(differences, dtype=float)
    if not sample.size:
        return math.nan
    rounding = float(np.abs(sample).sum()) * 1e-12  # sums that differ by no more are equal
    observed = abs(float(sample.sum())) - rounding
    if sample.size <= MAX_EXACT_PAIRS:
        return float(np.mean(np.abs(_all_signs(sample.size) @ sample) >= observed))
    generator = np.random.default_rng(seed)
    num_extreme = 0
    for num_rows in _blocks(NUM_PERMUTATIONS, sample.size):
        bits = np.unpackbits(np.frombuffer(generator.bytes(num_rows * (sample.size // 8 + 1)), np.uint8))
        kept = bits.reshape(num_rows, -1)[:, : sample.size] @ sample  # sum of the values that keep their sign
        num_extreme += int((np.abs(2 * kept - sample.sum()) >= observed).sum())
    return (num_extreme + 1) / (NUM_PERMUTATIONS + 1)


def wilcoxon_test(differences: Sequence[float] | np.ndarray) -> float:
    """Return the two-sided p value of Wilcoxon's signed-rank test (Wilcoxon 1945).

    Differences of 0 are dropped first, as in R and SciPy; equal ones share their rank. The p value is exact up to
    `MAX_EXACT_PAIRS` pairs, and up to 50 if no two differences are equal in size; beyond, it is that of the normal
    approximation with tie and continuity correction. All differences 0: 1. None: NaN.
    """
    from scipy.stats import wilcoxon  # noqa: PLC0415 - half a second that not every caller needs

    sample = np.asarray(differences, dtype=float)
    if not sample.size:
        return math.nan
    ranks = _signed_ranks(sample)
    if ranks.size <= MAX_EXACT_PAIRS:
        return permutation_test(ranks) if ranks.size else 1.0
    is_exact = ranks.size <= _MAX_EXACT_WILCOXON and np.unique(np.abs(ranks)).size == ranks.size
    found = wilcoxon(ranks, correction=True, method="exact" if is_exact else "asymptotic")
    return float(found.pvalue)


def rank_biserial(differences: Sequence[float] | np.ndarray) -> float:
    """Return the matched-pairs rank-biserial correlation, -1 to 1: the effect size of Wilcoxon's test (Kerby 2014).

    It is the sum of the ranks of positive differences minus that of negative ones, over the sum of all; differences of
    0 have no rank. 1: all positive; 0: balanced, or all differences 0. None: NaN.
    """
    sample = np.asarray(differences, dtype=float)
    if not sample.size:
        return math.nan
    ranks = _signed_ranks(sample)
    return float(ranks.sum() / np.abs(ranks).sum()) if ranks.size else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number so that the chance of any false finding stays below the level.

    Holm 1979 (Scand J Stat 6:65): the k-th smallest of m is multiplied by m - k + 1, never falls below the one before,
    and never exceeds 1. NaN stays NaN and does not count among the m.
    """
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for smaller, (p, index) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - smaller)))
        corrected[index] = largest
    return corrected


def _resampled_means(sample: np.ndarray, seed: int) -> np.ndarray:
    """Return the means of `NUM_RESAMPLES` samples drawn with replacement."""
    generator = np.random.default_rng(seed)
    kind = np.uint16 if sample.size <= 2**16 else np.uint32  # drawn three times as fast as int64
    means = [
        sample[generator.integers(0, sample.size, (num_rows, sample.size), dtype=kind)].mean(axis=1)
        for num_rows in _blocks(NUM_RESAMPLES, sample.size)
    ]
    return np.concatenate(means)


def _blocks(num_rows: int, num_columns: int) -> list[int]:
    """Return how many rows to take at a time so that none of the blocks is large."""
    most = max(1, _BLOCK_ELEMENTS // num_columns)
    return [min(most, num_rows - start) for start in range(0, num_rows, most)]


def _all_signs(n: int) -> np.ndarray:
    """Return (2^n, n): every way to give n numbers a sign."""
    return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)


def _signed_ranks(sample: np.ndarray) -> np.ndarray:
    """Return the rank of each difference by its size, with its sign; differences of 0 are left out."""
    from scipy.stats import rankdata  # noqa: PLC0415 - half a second that not every caller needs

    changed = sample[sample != 0]
    ranks: np.ndarray = rankdata(np.abs(changed)) * np.sign(changed)
    return ranks


@lru_cache(maxsize=64)
def _median_rank(n: int) -> int:
    """Return the largest k with P(Binomial(n, 1/2) < k) <= 2.5%; 0 if there is none."""
    ways, below, rank = 1, 1, 0  # ways: n over rank
    while 40 * below <= 2**n:
        ways = ways * (n - rank) // (rank + 1)
        rank += 1
        below += ways
    return rank


def _t_quantile(degrees: int) -> float:
    """Return the 97.5th percentile of Student's t."""
    from scipy.special import stdtrit  # noqa: PLC0415 - a tenth of a second that not every caller needs

    return float(stdtrit(degrees, 0.975))
