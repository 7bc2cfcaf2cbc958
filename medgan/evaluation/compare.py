"""Methods compared on the same cases: paired differences and tests, rankings, agreement of volumes.

What each number is and what it does not say is written out in docs/statistics.md.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medgan.errors import MedganError
from medgan.evaluation.method_ranking import Ranking, rank_methods
from medgan.evaluation.metrics import Undefined, metric_named
from medgan.evaluation.paired import PairedComparison, comparable_value, compare_pair, corrected, mean_of, median_of
from medgan.evaluation.scores import Score, in_order_of_cases
from medgan.evaluation.statistics import (
    MAX_EXACT_PAIRS,
    MEAN_INTERVAL,
    NUM_PERMUTATIONS,
    Agreement,
    bland_altman,
    mean_interval,
)
from medgan.evaluation.surface import Surface

_TESTS = {
    "interval": MEAN_INTERVAL,
    "wilcoxon": "Wilcoxon signed-rank test, two-sided, differences of 0 dropped",
    "permutation": (
        f"paired sign-flip permutation test of the mean difference, two-sided; exact up to {MAX_EXACT_PAIRS} pairs, "
        f"else {NUM_PERMUTATIONS} draws"
    ),
    "correction": "Holm, per metric and test over organs and pairs of methods",
    "effect_size": "matched-pairs rank-biserial correlation",
}

_Scores = Mapping[str, Mapping[str, Score]]  # of one method, by organ and case


@dataclass(frozen=True)
class MethodMean:
    """One method, organ and metric over the cases that every method has scored.

    Attributes:
        method: its name.
        organ: name of the organ or group.
        metric: its name; of a metric better near zero, the absolute values count.
        n: cases that count.
        n_undefined: cases that do not.
        mean: of the values that count; NaN without any.
        mean_low: lower end of the 95% interval of the mean.
        mean_high: its upper end.
        median: of the values that count.
    """

    method: str
    organ: str
    metric: str
    n: int
    n_undefined: int
    mean: float = math.nan
    mean_low: float = math.nan
    mean_high: float = math.nan
    median: float = math.nan


@dataclass(frozen=True)
class MethodComparison:
    """What `compare` found.

    Attributes:
        methods: their names, in the order given.
        metrics: the metrics compared.
        organs: the organs and groups that every method has scored.
        undefined: what was done with values undefined because an organ was missed or invented.
        num_cases: cases that every method has scored.
        missing: for each method, the cases that another method has scored and it has not.
        organs_left_out: organs that only some of the methods have scored.
        different_references: cases whose reference has not the same volume for every method.
        means: every method, organ and metric over the cases common to all.
        pairs: every two methods, organ and metric over the cases common to the two.
        rankings: for three methods and more, one per metric, then one over all metrics if there are several.
        agreements: by method and organ, Bland-Altman agreement of volumes in ml with the reference, over the cases
            common to all; None where the organ is absent in every case.
        penalty_mm: smallest and largest of what a distance counts as where an organ is missed or invented; None if such
            cases are left out and counted.
        surface: the definition of the surface; None if the scores came without it.
        surface_definition: the same in one sentence; empty likewise.
        tolerances_mm: surface tolerance by organ; empty likewise.
        definitions: how intervals, tests, correction and effect size are made.
        seed: of bootstrap and permutations.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    organs: tuple[str, ...]
    undefined: Undefined
    num_cases: int
    missing: Mapping[str, tuple[str, ...]]
    organs_left_out: tuple[str, ...]
    different_references: tuple[str, ...]
    means: tuple[MethodMean, ...]
    pairs: tuple[PairedComparison, ...]
    rankings: tuple[Ranking, ...]
    agreements: Mapping[str, Mapping[str, Agreement | None]]
    penalty_mm: tuple[float, float] | None = None
    surface: Surface | None = None
    surface_definition: str = ""
    tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    definitions: Mapping[str, str] = field(default_factory=lambda: dict(_TESTS))
    seed: int = 0


def compare(
    methods: Mapping[str, Sequence[Score]],
    *,
    metrics: Sequence[str] | None = None,
    undefined: Undefined = "count",
    seed: int = 0,
) -> MethodComparison:
    """Return what the scores of two methods or more on the same cases say about each other.

    Args:
        methods: the scores of each method, by its name, in any order; the first two of them are a and b.
        metrics: names of the metrics to compare; None takes every judged one that all methods have.
        undefined: "count" leaves out the pairs in which a value is undefined, and counts them; "penalise" gives an
            organ missed or invented the worst possible value. Organs in neither volume are left out under both.
        seed: of bootstrap and permutations.

    Raises:
        MedganError: if there are fewer than two methods, or these have no case, organ or metric in common.

    Example:
        >>> comparison = compare({"unet": unet_scores, "gan": gan_scores}, metrics=["dice"])
        >>> pair = comparison.pairs[0]
        >>> pair.organ, round(pair.difference, 3), round(pair.wilcoxon_p_holm, 3)
        ('left_lung', 0.012, 0.031)
    """
    if len(methods) < 2:
        raise MedganError(f"a comparison needs at least two methods, found {len(methods)}.")
    methods = {name: in_order_of_cases(scores) for name, scores in methods.items()}
    names = tuple(methods)
    organs = _common(methods, "an organ", [[score.organ for score in scores] for scores in methods.values()])
    by_organ = {name: _by_organ(methods[name], organs) for name in names}
    cases = _common(methods, "a case", [[score.case_id for score in scores] for scores in methods.values()])
    chosen = _metrics_to_compare(methods, metrics)
    two_by_two = list(itertools.combinations(names, 2))
    pairs: list[PairedComparison] = []
    for metric in chosen:
        of_metric = [
            compare_pair(a, b, by_organ, organ, metric, undefined=undefined, seed=seed)
            for a, b in two_by_two
            for organ in organs
        ]
        pairs += corrected(of_metric)
    every_case = sorted({score.case_id for scores in methods.values() for score in scores})
    diagonals = [score.diagonal_mm for scores in methods.values() for score in scores]
    every_organ = dict.fromkeys(score.organ for scores in methods.values() for score in scores)
    return MethodComparison(
        methods=names,
        metrics=chosen,
        organs=organs,
        undefined=undefined,
        num_cases=len(cases),
        missing={name: _missing(methods[name], every_case) for name in names},
        organs_left_out=tuple(organ for organ in every_organ if organ not in organs),
        different_references=_different_references(by_organ, organs, cases),
        means=tuple(
            _method_mean(name, by_organ[name], organ, metric, cases, undefined=undefined, seed=seed)
            for metric in chosen
            for organ in organs
            for name in names
        ),
        pairs=tuple(pairs),
        rankings=_rankings(by_organ, organs, every_case, chosen, seed=seed),
        agreements={name: {organ: _agreement(by_organ[name], organ, cases) for organ in organs} for name in names},
        penalty_mm=(min(diagonals), max(diagonals)) if undefined == "penalise" else None,
        seed=seed,
    )


def _common(methods: Mapping[str, Sequence[Score]], noun: str, found: Sequence[Iterable[str]]) -> tuple[str, ...]:
    """Return what all methods have, in the order of the first."""
    first, *others = (dict.fromkeys(values) for values in found)
    common = tuple(value for value in first if all(value in other for other in others))
    if not common:
        held = "; ".join(f"{name}: {_few(list(dict.fromkeys(v)))}" for name, v in zip(methods, found, strict=True))
        raise MedganError(f"methods must have {noun} in common to be compared, found {held}.")
    return common


def _by_organ(scores: Sequence[Score], organs: Sequence[str]) -> _Scores:
    found: dict[str, dict[str, Score]] = {organ: {} for organ in organs}
    for score in scores:
        of_organ = found.get(score.organ, {})
        if score.case_id in of_organ:
            raise MedganError(f"scores must be one per case and organ, found two of {score.case_id}, {score.organ}.")
        of_organ[score.case_id] = score
    return found


def _few(values: Sequence[str], *, most: int = 5) -> str:
    listed = ", ".join(values[:most]) or "none"
    return listed + (f" and {len(values) - most} more" if len(values) > most else "")


def _metrics_to_compare(methods: Mapping[str, Sequence[Score]], metrics: Sequence[str] | None) -> tuple[str, ...]:
    first, *others = (dict.fromkeys(name for score in scores for name in score.values) for scores in methods.values())
    common = [name for name in first if all(name in other for other in others) and metric_named(name).better]
    chosen = tuple(common) if metrics is None else tuple(dict.fromkeys(metrics))
    unknown = [name for name in chosen if name not in common]
    if unknown or not chosen:
        raise MedganError(
            f"metrics to compare must be judged ones that every method has ({', '.join(common) or 'there are none'}), "
            f"found {', '.join(unknown) or 'none'}."
        )
    return chosen


def _missing(scores: Sequence[Score], every_case: Sequence[str]) -> tuple[str, ...]:
    own = {score.case_id for score in scores}
    return tuple(case_id for case_id in every_case if case_id not in own)


def _different_references(
    by_organ: Mapping[str, _Scores], organs: Sequence[str], cases: Sequence[str]
) -> tuple[str, ...]:
    """Return the cases in which an organ's reference has not the same volume for all methods."""
    differ = []
    for case_id in cases:
        for organ in organs:
            scored = [scores[organ][case_id] for scores in by_organ.values() if case_id in scores[organ]]
            volumes = [score["reference_ml"] for score in scored]
            if volumes and max(volumes) - min(volumes) > 1e-6 * max(volumes):
                differ.append(case_id)
                break
    return tuple(differ)


def _method_mean(
    name: str, scores: _Scores, organ: str, metric: str, cases: Sequence[str], *, undefined: Undefined, seed: int
) -> MethodMean:
    found = [scores[organ][case_id] for case_id in cases if case_id in scores[organ]]
    values = np.array([comparable_value(score, metric, undefined=undefined) for score in found])
    defined = values[~np.isnan(values)]
    low, high = mean_interval(defined, seed=seed)
    return MethodMean(
        name, organ, metric, defined.size, len(found) - defined.size, mean_of(defined), low, high, median_of(defined)
    )


def _rankings(
    by_organ: Mapping[str, _Scores], organs: Sequence[str], cases: Sequence[str], metrics: Sequence[str], *, seed: int
) -> tuple[Ranking, ...]:
    """Return a ranking per metric, and one over all of them; none for two methods."""
    if len(by_organ) < 3:
        return ()
    sets = [(metric,) for metric in metrics] + ([tuple(metrics)] if len(metrics) > 1 else [])
    return tuple(rank_methods(by_organ, organs=organs, cases=cases, metrics=names, seed=seed) for names in sets)


def _agreement(scores: _Scores, organ: str, cases: Sequence[str]) -> Agreement | None:
    found = [scores[organ][case_id] for case_id in cases if case_id in scores[organ]]
    present = [score for score in found if not score.is_absent]
    volumes = [[score[name] for score in present] for name in ("prediction_ml", "reference_ml")]
    return bland_altman(*volumes) if present else None
