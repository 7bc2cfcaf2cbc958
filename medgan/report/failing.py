"""Organs that were missed or invented: which, in which cases, and what they count as, in words."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from medgan.evaluation.metrics import Metric, metric_named
from medgan.evaluation.scores import Score
from medgan.report.page import format_value
from medgan.report.summary import Summary

Failure = Literal["missed", "invented"]
FAILURES: tuple[Failure, ...] = ("missed", "invented")
_UNDEFINED = "undefined and left out"
_AS_MEASURED = "as measured"


@dataclass(frozen=True)
class Failing:
    """An organ that was missed or invented, and in which cases."""

    organ: str
    word: Failure
    case_ids: tuple[str, ...]
    num_cases: int


def failing_organs(scores: Sequence[Score], summary: Summary) -> list[Failing]:
    """Return the organs missed or invented, in the order of the summary."""
    cases: dict[tuple[str, str], list[str]] = {}
    for score in scores:
        if score.is_missed or score.is_invented:
            cases.setdefault((score.organ, _state_of(score)), []).append(score.case_id)
    return [
        Failing(organ.organ, word, tuple(found), organ.num_cases)
        for organ in summary.organs
        for word in FAILURES
        if (found := cases.get((organ.organ, word)))
    ]


def counts_as(metric: Metric, failure: Failure, summary: Summary) -> str:
    """Return what an organ missed or invented counts as in a metric, under the policy of the summary.

    "0", "−100%", "the image's diagonal", "undefined and left out", or "as measured".
    """
    value = metric.missed if failure == "missed" else metric.invented
    if value is None:
        return _AS_MEASURED
    if math.isnan(value) and summary.penalty_mm is not None:
        if metric.worst == "diagonal":
            return "the image's diagonal"
        value = math.nan if metric.worst is None else metric.worst
    return _UNDEFINED if math.isnan(value) else f"{format_value(value, 'count')}{'%' if metric.unit == '%' else ''}"


def describe_failure(failure: Failure, summary: Summary, names: Iterable[str]) -> str:
    """Return in one sentence what an organ missed or invented counts as in every metric of `names`, if not as measured.

    Example:
        >>> describe_failure("missed", summary, ["dice", "precision", "hd95_mm", "reference_ml"])
        'Missed: 0 in Dice; undefined and left out in Precision and HD95; all else counts as measured.'
    """
    titles: dict[str, list[str]] = {}
    for name in names:
        metric = metric_named(name)
        titles.setdefault(counts_as(metric, failure, summary), []).append(metric.title)
    parts = [f"{effect} in {_listed(found)}" for effect, found in titles.items() if effect != _AS_MEASURED]
    return f"{failure.capitalize()}: {'; '.join([*parts, 'all else counts as measured'])}."


def describe_lane(name: str, scores: Sequence[Score], summary: Summary) -> str:
    """Return what the hollow dots beside the plot of a metric are and count as; empty if there are none.

    Example:
        >>> describe_lane("dice", scores, summary)
        'Hollow dots at the side: missed (counts as 0), in neither volume (undefined and left out).'
    """
    metric = metric_named(name)
    aside = [score for score in scores if math.isnan(score.values.get(name, 0.0)) or _is_worst(score, metric)]
    effects: dict[str, list[str]] = {}
    for failure in FAILURES:
        if any(_state_of(score) == failure for score in aside):
            effect = counts_as(metric, failure, summary)
            effects.setdefault(effect if effect == _UNDEFINED else f"counts as {effect}", []).append(failure)
    for state, told in (("absent", "in neither volume"), ("found", "without a surface to measure from")):
        if any(_state_of(score) == state for score in aside):
            effects.setdefault(_UNDEFINED, []).append(told)
    parts = [f"{_listed(states, last='or')} ({effect})" for effect, states in effects.items()]
    return f"Hollow dots at the side: {', '.join(parts)}." if parts else ""


def _state_of(score: Score) -> str:
    return (
        "missed" if score.is_missed else "invented" if score.is_invented else "absent" if score.is_absent else "found"
    )


def _is_worst(score: Score, metric: Metric) -> bool:
    return metric.worst is not None and (score.is_missed or score.is_invented)


def _listed(texts: Sequence[str], last: str = "and") -> str:
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}" if len(texts) > 1 else texts[0]
