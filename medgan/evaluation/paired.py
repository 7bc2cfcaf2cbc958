"""Two methods on the same cases, in one organ and metric: paired differences and tests.

What each number is and what it does not say is written out in docs/statistics.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from medgan.evaluation.metrics import Undefined, metric_named, value_of
from medgan.evaluation.scores import Score
from medgan.evaluation.statistics import holm, mean_interval, permutation_test, rank_biserial, wilcoxon_test

EQUAL_DECIMALS = 9  # decimals of a difference: smaller ones are rounding, and such values equal


@dataclass(frozen=True)
class PairedComparison:
    """Method `b` against method `a` in one organ and metric, over the cases in which both have a value.

    Every difference is b minus a. Of a metric better near zero, the absolute values are compared.

    Attributes:
        a: the method compared with.
        b: the method compared.
        organ: name of the organ or group.
        metric: its name.
        n: pairs; without any, every number but the counts is NaN.
        mean_a: mean of `a` over the pairs.
        mean_b: mean of `b` over the pairs.
        difference: mean difference.
        difference_low: lower end of its 95% bootstrap interval over pairs; NaN for fewer than two pairs.
        difference_high: its upper end.
        median_difference: median of the differences.
        wilcoxon_p: of Wilcoxon's signed-rank test.
        wilcoxon_p_holm: the same, corrected.
        permutation_p: of the paired permutation test of the mean difference.
        permutation_p_holm: the same, corrected.
        effect_size: matched-pairs rank-biserial correlation, -1 to 1; positive: values of `b` are larger.
        num_better: pairs in which `b` is better.
        num_worse: pairs in which `b` is worse.
        num_equal: pairs in which the values are equal.
        undefined_a: cases, by id, in which only `b` has a value.
        undefined_b: cases, by id, in which only `a` has a value.
        num_undefined: cases in which neither has a value.
        invented_a: cases, by id, without a pair as `b` rightly found no organ and `a` invented one; they are in none of
            the three above, nor in any difference: a right absence has no value to subtract.
        invented_b: likewise, cases in which `b` invented the organ.
        case_ids: the pairs.
        values_a: of `a`, in the order of `case_ids`.
        values_b: of `b`, likewise.
    """

    a: str
    b: str
    organ: str
    metric: str
    n: int
    mean_a: float
    mean_b: float
    difference: float
    difference_low: float
    difference_high: float
    median_difference: float
    wilcoxon_p: float
    permutation_p: float
    effect_size: float
    num_better: int
    num_worse: int
    num_equal: int
    undefined_a: tuple[str, ...]
    undefined_b: tuple[str, ...]
    num_undefined: int
    invented_a: tuple[str, ...]
    invented_b: tuple[str, ...]
    case_ids: tuple[str, ...] = field(repr=False)
    values_a: tuple[float, ...] = field(repr=False)
    values_b: tuple[float, ...] = field(repr=False)
    wilcoxon_p_holm: float = math.nan
    permutation_p_holm: float = math.nan

    @property
    def num_without_pair(self) -> int:
        """Cases in which not both methods have a value."""
        named = (self.undefined_a, self.undefined_b, self.invented_a, self.invented_b)
        return self.num_undefined + sum(map(len, named))


def compare_pair(
    a: str,
    b: str,
    by_organ: Mapping[str, Mapping[str, Mapping[str, Score]]],
    organ: str,
    metric: str,
    *,
    undefined: Undefined,
    seed: int,
) -> PairedComparison:
    """Return method `b` against `a` in one organ and metric, from scores by method, organ and case; p uncorrected."""
    sides = by_organ[a][organ], by_organ[b][organ]
    cases = np.array([case_id for case_id in sides[0] if case_id in sides[1]], dtype=object)
    values = np.array([[comparable_value(side[c], metric, undefined=undefined) for c in cases] for side in sides])
    is_defined = ~np.isnan(values)
    is_pair = is_defined.all(axis=0)
    of_a, of_b = values[:, is_pair]
    differences = np.round(of_b - of_a, EQUAL_DECIMALS)
    low, high = mean_interval(differences, seed=seed)
    gains = differences if metric_named(metric).better == "higher" else -differences
    invented = [
        np.array([one[c].is_invented and other[c].is_absent for c in cases], dtype=bool) & ~is_pair
        for one, other in (sides, sides[::-1])
    ]
    is_other = ~(invented[0] | invented[1])
    return PairedComparison(
        a=a,
        b=b,
        organ=organ,
        metric=metric,
        n=int(is_pair.sum()),
        mean_a=mean_of(of_a),
        mean_b=mean_of(of_b),
        difference=mean_of(differences),
        difference_low=low,
        difference_high=high,
        median_difference=median_of(differences),
        wilcoxon_p=wilcoxon_test(differences),
        permutation_p=permutation_test(differences, seed=seed),
        effect_size=rank_biserial(differences),
        num_better=int((gains > 0).sum()),
        num_worse=int((gains < 0).sum()),
        num_equal=int((gains == 0).sum()),
        undefined_a=tuple(cases[~is_defined[0] & is_defined[1] & is_other]),
        undefined_b=tuple(cases[is_defined[0] & ~is_defined[1] & is_other]),
        num_undefined=int(((~is_defined).all(axis=0) & is_other).sum()),
        invented_a=tuple(cases[invented[0]]),
        invented_b=tuple(cases[invented[1]]),
        case_ids=tuple(cases[is_pair]),
        values_a=tuple(of_a.tolist()),
        values_b=tuple(of_b.tolist()),
    )


def corrected(pairs: Sequence[PairedComparison]) -> list[PairedComparison]:
    """Return comparisons in one metric with their p values corrected over all of them."""
    wilcoxon = holm([pair.wilcoxon_p for pair in pairs])
    permutation = holm([pair.permutation_p for pair in pairs])
    return [
        replace(pair, wilcoxon_p_holm=w, permutation_p_holm=p)
        for pair, w, p in zip(pairs, wilcoxon, permutation, strict=True)
    ]


def mean_of(values: np.ndarray) -> float:
    """Return the mean; NaN of none."""
    return float(values.mean()) if values.size else math.nan


def median_of(values: np.ndarray) -> float:
    """Return the median; NaN of none."""
    return float(np.median(values)) if values.size else math.nan


def comparable_value(score: Score, metric: str, *, undefined: Undefined) -> float:
    """Return what two methods are compared by: a metric of a score, its absolute value if it is better near zero."""
    value = value_of(score, metric, undefined=undefined)
    return abs(value) if is_compared_by_size(metric) else value


def is_compared_by_size(metric: str) -> bool:
    """Return whether absolute values of a metric are compared: those that are better near zero."""
    return metric_named(metric).better == "near zero"
