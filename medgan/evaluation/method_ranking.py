"""Methods ranked against each other, case by case, and how far the ranking depends on the cases at hand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medgan.evaluation.metrics import metric_named
from medgan.evaluation.scores import Score
from medgan.evaluation.statistics import NUM_RESAMPLES


@dataclass(frozen=True)
class RankedMethod:
    """A method's place.

    Attributes:
        method: its name.
        rank: 1 is the best; methods with the same mean rank share the better place.
        mean_rank: over cases, organs and metrics.
        rank_shares: share of the bootstrap samples of cases in which the method takes rank 1, 2, ...; NaN where fewer
            than two cases rank the methods, as all samples are then the same.
    """

    method: str
    rank: int
    mean_rank: float
    rank_shares: tuple[float, ...]


@dataclass(frozen=True)
class Ranking:
    """Methods from the best to the worst.

    Attributes:
        metrics: what they are ranked by.
        num_cases: cases that at least one method has scored.
        methods: the best first.
        kendall_tau: mean of Kendall's tau-b between this ranking and those of the bootstrap samples; 1: always the
            same. NaN if all methods share one place, or fewer than two cases rank them.
        kendall_tau_low: 2.5th percentile of these.
    """

    metrics: tuple[str, ...]
    num_cases: int
    methods: tuple[RankedMethod, ...]
    kendall_tau: float
    kendall_tau_low: float

    @property
    def has_stability(self) -> bool:
        """Whether there are cases enough to say how stable it is: two that rank the methods."""
        return not math.isnan(self.methods[0].rank_shares[0])


def rank_methods(
    by_organ: Mapping[str, Mapping[str, Mapping[str, Score]]],
    *,
    organs: Sequence[str],
    cases: Sequence[str],
    metrics: Sequence[str],
    seed: int = 0,
) -> Ranking:
    """Return the ranking of methods: ranked in each case, organ and metric, then by the mean of these ranks.

    "Rank, then mean", as BraTS does (Maier-Hein et al. 2018, Nat Commun 9:5217): a single very bad case costs one rank,
    not the mean. Equal values share their mean rank. A case that a method has not scored, and an organ that it missed
    or invented where the metric is then undefined, take the last rank; an organ rightly absent takes the first. Organs
    in which all methods are level for lack of any value count for nothing.

    Stability: the cases are drawn with replacement `NUM_RESAMPLES` times, all organs and metrics of a case together,
    and the methods ranked anew (Wiesenfarth et al. 2021, Sci Rep 11:2369).

    Args:
        by_organ: scores by method, organ and case.
        organs: to rank by.
        cases: likewise.
        metrics: likewise.
        seed: of the bootstrap.
    """
    names = tuple(by_organ)
    sums, counts = np.zeros((len(cases), len(names))), np.zeros(len(cases))
    for row, case_id in enumerate(cases):
        for organ in organs:
            for metric in metrics:
                badness = np.array([_badness(by_organ[name][organ].get(case_id), metric) for name in names])
                if np.isfinite(badness).any() or np.ptp(np.sign(badness)) > 0:
                    sums[row] += _mean_ranks(badness)
                    counts[row] += 1
    share = np.full(len(cases), 1 / len(cases))
    draws = np.random.default_rng(seed).multinomial(len(cases), share, size=NUM_RESAMPLES)
    says_something = (draws @ counts > 0) & ((counts > 0).sum() > 1)
    draws = draws[says_something]
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=0) / counts.sum()
        resampled = draws @ sums / (draws @ counts)[:, None]
    taus = _kendall_tau(means, resampled)
    taus = taus[~np.isnan(taus)]
    ranks, resampled_ranks = _places(means), _places(resampled)
    missing = np.full(len(names), math.nan)
    places = range(1, len(names) + 1)
    shares = [(resampled_ranks == place).mean(axis=0) if len(draws) else missing for place in places]
    ranked = [
        RankedMethod(name, int(ranks[i]), float(means[i]), tuple(float(share[i]) for share in shares))
        for i, name in enumerate(names)
    ]
    return Ranking(
        metrics=tuple(metrics),
        num_cases=len(cases),
        methods=tuple(sorted(ranked, key=lambda method: method.rank)),
        kendall_tau=float(taus.mean()) if taus.size else math.nan,
        kendall_tau_low=float(np.percentile(taus, 2.5)) if taus.size else math.nan,
    )


def _badness(score: Score | None, metric: str) -> float:
    """Return a number that is smaller the better; infinite if missing or missed, minus infinite if rightly absent."""
    if score is None:
        return math.inf
    if score.is_absent:
        return -math.inf
    value, better = score[metric], metric_named(metric).better
    if math.isnan(value):
        return math.inf
    return abs(value) if better == "near zero" else -value if better == "higher" else value


def _mean_ranks(badness: np.ndarray) -> np.ndarray:
    """Return ranks from 1; equal values share the mean of theirs."""
    smaller = (badness[None, :] < badness[:, None]).sum(axis=1)
    not_larger = (badness[None, :] <= badness[:, None]).sum(axis=1)
    ranks: np.ndarray = (smaller + not_larger + 1) / 2
    return ranks


def _places(means: np.ndarray) -> np.ndarray:
    """Return places from 1 along the last axis; equal means share the better place."""
    rounded = np.round(means, 9)
    places: np.ndarray = 1 + (rounded[..., None, :] < rounded[..., :, None]).sum(axis=-1)
    return places


def _kendall_tau(means: np.ndarray, resampled: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of mean ranks (M,) and each row of resampled ones (N, M); NaN if either is all ties."""
    i, j = np.triu_indices(means.size, k=1)
    full = np.sign(np.round(means[i] - means[j], 9))
    other = np.sign(np.round(resampled[:, i] - resampled[:, j], 9))
    with np.errstate(invalid="ignore"):
        taus: np.ndarray = (other @ full) / np.sqrt((full**2).sum() * (other**2).sum(axis=1))
    return taus
