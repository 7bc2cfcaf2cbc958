"""The scores as the page's script draws them: tables of numbers by metric, organ and case, each name told once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from medgan.evaluation.metrics import Metric, metric_named
from medgan.evaluation.scores import Score
from medgan.report.page import decimals_of
from medgan.report.summary import MetricSummary, OrganSummary, Summary

_NOT_SCORED = "-"
_FIRST = ("dice", "surface_dice", "hd95_mm", "assd_mm", "volume_error_ml", "volume_error_percent")


def reading_order(names: Sequence[str]) -> list[str]:
    """Return the metrics as a reader wants them: the best known of each kind, the other judged ones, measurements."""

    def place(name: str) -> tuple[int, bool]:
        return (_FIRST.index(name) if name in _FIRST else len(_FIRST)), metric_named(name).better is None

    return sorted(names, key=place)


def page_data(scores: Sequence[Score], summary: Summary) -> dict[str, Any]:
    """Return what `json_for_page` puts into the page.

    `values[metric][organ][case]` are raw values, None where undefined; `status[organ]` is a text with a character per
    case: "m" missed, "i" invented, "a" absent in both, "-" not scored, "." any other. `boxes[metric][organ]` are
    quartiles and median under the policy for undefined values. `diagonals` are what a distance is penalised with, by
    case; None if it is not.
    """
    cases = list(dict.fromkeys(score.case_id for score in scores))
    organs, metrics = [organ.organ for organ in summary.organs], reading_order(summary.metrics)
    by_place = {(score.organ, score.case_id): score for score in scores}
    diagonals = {score.case_id: score.diagonal_mm for score in scores}
    return {
        "metrics": [_metric(name, metric_named(name)) for name in metrics],
        "organs": organs,
        "cases": cases,
        "status": ["".join(_status(by_place.get((organ, case_id))) for case_id in cases) for organ in organs],
        "values": [
            [[_value(by_place.get((organ, case_id)), name) for case_id in cases] for organ in organs]
            for name in metrics
        ],
        "boxes": [[_box(organ.metrics[name]) for organ in summary.organs] for name in metrics],
        "agreement": [_agreement(organ) for organ in summary.organs],
        "diagonals": [_short(diagonals[case_id]) for case_id in cases] if summary.penalty_mm else None,
    }


def _metric(name: str, metric: Metric) -> dict[str, Any]:
    return {
        "name": name,
        "title": metric.title,
        "unit": "" if metric.unit == "count" else metric.unit,
        "decimals": decimals_of(metric.unit),
        "better": metric.better,
        "worst": metric.worst,
    }


def _status(score: Score | None) -> str:
    if score is None:
        return _NOT_SCORED
    return "m" if score.is_missed else "i" if score.is_invented else "a" if score.is_absent else "."


def _value(score: Score | None, name: str) -> float | None:
    return None if score is None else _short(score.values.get(name, math.nan))


def _box(metric: MetricSummary) -> list[float | None] | None:
    return [_short(value) for value in (metric.q1, metric.median, metric.q3)] if metric.n else None


def _agreement(organ: OrganSummary) -> Mapping[str, float | None] | None:
    if organ.agreement is None:
        return None
    return {name: _short(value) for name, value in asdict(organ.agreement).items()}


def _short(value: float) -> float | None:
    """Return a value in six significant digits, which no reader tells from all of them; None for NaN."""
    return None if math.isnan(value) else float(f"{value:.6g}")
