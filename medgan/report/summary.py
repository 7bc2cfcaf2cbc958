"""Scores of many cases summarised per organ and metric: summary.json."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.evaluation.metrics import Better, Undefined, metric_named, value_of
from medgan.evaluation.scores import Score, in_order_of_cases
from medgan.evaluation.statistics import MEAN_INTERVAL, Agreement, bland_altman, mean_interval, median_interval
from medgan.evaluation.surface import SURFACES
from medgan.files import write_json
from medgan.provenance import package_versions
from medgan.report.page import cases_text

INTERVAL = f"of the mean: {MEAN_INTERVAL}; of the median: 95% between order statistics"


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one organ over the cases. Only defined values count; everything but the counts may be NaN.

    Attributes:
        n: cases that count: the metric is defined in them, or penalised.
        n_undefined: cases that do not: the metric is undefined and has no penalty.
        n_penalised: of the `n`, those that count as the worst possible value; 0 under the policy "count".
        mean: of the values that count, like all that follow.
        sd: sample standard deviation (n - 1).
        median: the middle.
        q1: first quartile.
        q3: third quartile.
        minimum: the smallest.
        maximum: the largest.
        mean_low: lower end of the 95% interval of the mean; NaN for fewer than two values.
        mean_high: its upper end.
        median_low: lower end of the 95% interval of the median; NaN for fewer than six values.
        median_high: its upper end.
        worst_case: id of the case with the worst value that counts, of several the first by id; empty without one, and
            for a metric that is not judged.
    """

    n: int
    n_undefined: int
    n_penalised: int = 0
    mean: float = math.nan
    sd: float = math.nan
    median: float = math.nan
    q1: float = math.nan
    q3: float = math.nan
    minimum: float = math.nan
    maximum: float = math.nan
    mean_low: float = math.nan
    mean_high: float = math.nan
    median_low: float = math.nan
    median_high: float = math.nan
    worst_case: str = ""


@dataclass(frozen=True)
class OrganSummary:
    """One organ, or group of organs, over the cases.

    Attributes:
        organ: its name.
        num_cases: cases scored.
        num_missed: cases with the organ in the reference and none of it in the prediction.
        num_invented: cases with the organ in the prediction and none of it in the reference.
        num_absent: cases with the organ in neither.
        tolerance_mm: of its surface Dice.
        metrics: a summary per metric, in the order of the scores.
        agreement: of predicted and reference volumes in ml (Bland-Altman), organs missed and invented included, absent
            ones not; None if the organ is absent in every case.
    """

    organ: str
    num_cases: int
    num_missed: int
    num_invented: int
    num_absent: int
    tolerance_mm: float
    metrics: Mapping[str, MetricSummary]
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Summary:
    """What summary.json holds.

    Attributes:
        num_cases: cases scored.
        organs: in the order of the scores.
        evaluation: the settings it was made with, as `EvaluationConfig.model_dump(mode="json")` gives them.
        surface_definition: what the distances were measured between, in one sentence.
        penalty_mm: smallest and largest of what a distance counts as where an organ is missed or invented; None if such
            cases are left out and counted.
        interval: how the intervals were made.
        versions: of the software that computed it.
        not_evaluated: cases that could not be compared, and one sentence why.
        settings: whatever the caller wants to be on record: paths, config, hashes.
    """

    num_cases: int
    organs: tuple[OrganSummary, ...]
    evaluation: Mapping[str, Any]
    surface_definition: str
    penalty_mm: tuple[float, float] | None = None
    interval: str = INTERVAL
    versions: Mapping[str, str] = field(default_factory=package_versions)
    not_evaluated: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def undefined(self) -> Undefined:
        """What is done with the distances of an organ missed or invented: "count" or "penalise"."""
        return cast(Undefined, self.evaluation["undefined"])

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics, in order."""
        return tuple(self.organs[0].metrics)


def summarise(
    scores: Sequence[Score],
    *,
    evaluation: EvaluationConfig,
    not_evaluated: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Summary:
    """Return the summary of `scores`, per organ and metric.

    Undefined values are counted, and left out of means or penalised as `evaluation.undefined` says; an organ missed or
    invented is counted by name.

    Args:
        scores: of all cases, in any order.
        evaluation: the settings with which they were made.
        not_evaluated: cases without scores, and one sentence why.
        settings: kept as they are for the record.
        seed: of the bootstrap.

    Raises:
        MedganError: if there are no scores.
    """
    if not scores:
        raise MedganError("a summary needs at least one scored case, found none.")
    by_organ: dict[str, list[Score]] = {}
    for score in scores:
        by_organ.setdefault(score.organ, []).append(score)
    diagonals = [score.diagonal_mm for score in scores]
    return Summary(
        num_cases=len({score.case_id for score in scores}),
        organs=tuple(_summarise_organ(organ, members, evaluation, seed) for organ, members in by_organ.items()),
        evaluation=evaluation.model_dump(mode="json"),
        surface_definition=SURFACES[evaluation.surface],
        penalty_mm=(min(diagonals), max(diagonals)) if evaluation.undefined == "penalise" else None,
        not_evaluated=dict(not_evaluated or {}),
        settings={**(settings or {}), "bootstrap_seed": seed},
    )


def summarise_metric(scores: Sequence[Score], name: str, *, undefined: Undefined, seed: int = 0) -> MetricSummary:
    """Return the summary of one metric over the scores of one organ.

    It depends on the scores and the seed alone, not on their order or on what else is summarised.
    """
    scores = in_order_of_cases(scores)
    values = np.array([value_of(score, name, undefined=undefined) for score in scores])
    counts = ~np.isnan(values)
    defined = values[counts]
    n = int(defined.size)
    if not n:
        return MetricSummary(n, len(scores))
    minimum, q1, median, q3, maximum = np.percentile(defined, (0, 25, 50, 75, 100)).tolist()
    mean_low, mean_high = mean_interval(defined, seed=seed)
    median_low, median_high = median_interval(defined)
    return MetricSummary(
        n=n,
        n_undefined=len(scores) - n,
        n_penalised=sum(
            math.isnan(score[name]) for score, is_counted in zip(scores, counts, strict=True) if is_counted
        ),
        mean=float(defined.mean()),
        sd=float(defined.std(ddof=1)) if n > 1 else math.nan,
        median=median,
        q1=q1,
        q3=q3,
        minimum=minimum,
        maximum=maximum,
        mean_low=mean_low,
        mean_high=mean_high,
        median_low=median_low,
        median_high=median_high,
        worst_case=_worst_case(scores, values, metric_named(name).better),
    )


def summarise_briefly(summary: Summary) -> list[str]:
    """Return a line per organ for the terminal: mean Dice and HD95, each with its n, and what was missed or invented.

    Another percentile, or the Hausdorff distance, stands in for HD95 where that was not measured.

    Example:
        >>> for line in summarise_briefly(summary): print(line)
        left_lung  Dice 0.641 (n 3)  HD95 4.1 mm (n 2)  missed in 1
        heart      Dice 0.941 (n 3)  HD95 3.0 mm (n 3)
    """
    width = max(len(organ.organ) for organ in summary.organs)
    distance = next((name for name in ("hd95_mm", *summary.metrics) if _is_distance(name, summary)), None)
    lines = []
    for organ in summary.organs:
        parts = [f"{organ.organ:<{width}}"]
        if dice := organ.metrics.get("dice"):
            parts.append(f"Dice {_mean(dice, '.3f')} {_count(dice)}")
        if distance:
            title, metric = metric_named(distance).title, organ.metrics[distance]
            parts.append(f"{title} {_mean(metric, '.1f', ' mm')} {_count(metric)}")
        parts += [f"missed in {organ.num_missed}"] if organ.num_missed else []
        parts += [f"invented in {organ.num_invented}"] if organ.num_invented else []
        lines.append("  ".join(parts))
    return lines


def write_summary(summary: Summary, path: str | Path) -> None:
    """Write `summary` to `path` as JSON, atomically; NaN becomes null.

    Raises:
        MedganError: if the file cannot be written.
    """
    document = asdict(summary)
    document["organs"] = {organ.pop("organ"): organ for organ in document["organs"]}
    write_json(path, document)


def read_summary(path: str | Path) -> Summary:
    """Read what `write_summary` wrote.

    Raises:
        MedganError: if the file is missing, of an older medgan, or not such a summary.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MedganError(
            f"summary {path} could not be read: {error.strerror}. Run `medgan evaluate` first."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _no_summary(path, f"no JSON ({error})") from error
    if not isinstance(document, dict):
        raise _no_summary(path, f"{document!r:.80}")
    if "surface_tolerance_mm" in document and "evaluation" not in document:
        raise MedganError(
            f"summary {path} has no section evaluation: an older medgan wrote it. Run `medgan evaluate` again."
        )
    if missing := [each.name for each in fields(Summary) if each.name not in document]:
        raise _no_summary(path, f"no {missing[0]}")
    if not isinstance(document["organs"], dict):
        raise _no_summary(path, f"{document['organs']!r:.80} as organs")
    try:
        summary = TypeAdapter(Summary).validate_json(json.dumps(_with_named_organs(document)), strict=True)
        EvaluationConfig.model_validate(summary.evaluation)
    except ValidationError as error:
        raise _no_summary(path, _first_fault(error, document)) from error
    if fault := _contradiction(summary):
        raise _no_summary(path, fault)
    return summary


def check_same_evaluation(scores: Sequence[Score], summary: Summary, folder: Path) -> None:
    """Raise `MedganError` unless the scores in a folder are those that its summary is of, organ by organ."""
    counts = Counter(score.organ for score in scores)
    summarised = {organ.organ: organ.num_cases for organ in summary.organs}
    num_cases = len({score.case_id for score in scores})
    if counts != summarised or num_cases != summary.num_cases:
        raise MedganError(
            f"scores.csv and summary.json in {folder} must be of one evaluation, found "
            f"{_counted_organs(num_cases, counts)} and {_counted_organs(summary.num_cases, summarised)}. "
            "Run `medgan evaluate` again."
        )


def _counted_organs(num_cases: int, counts: Mapping[str, int]) -> str:
    """Return how many cases there are, and of which organs; with their number where they are not in every case."""
    organs = [name if count == num_cases else f"{name} ({count})" for name, count in sorted(counts.items())]
    return f"{cases_text(num_cases)} of {', '.join(organs)}"


def _summarise_organ(organ: str, scores: Sequence[Score], evaluation: EvaluationConfig, seed: int) -> OrganSummary:
    present = [score for score in in_order_of_cases(scores) if not score.is_absent]
    volumes = [[score[name] for score in present] for name in ("prediction_ml", "reference_ml")]
    return OrganSummary(
        organ=organ,
        num_cases=len(scores),
        num_missed=sum(score.is_missed for score in scores),
        num_invented=sum(score.is_invented for score in scores),
        num_absent=len(scores) - len(present),
        tolerance_mm=evaluation.tolerance_of(organ),
        metrics={
            name: summarise_metric(scores, name, undefined=evaluation.undefined, seed=seed) for name in scores[0].values
        },
        agreement=bland_altman(*volumes) if present else None,
    )


def _worst_case(scores: Sequence[Score], values: np.ndarray, better: Better | None) -> str:
    """Return the id of the first case with the worst value that is not NaN; empty if values are not judged."""
    if better is None:
        return ""
    badness = {"higher": -values, "lower": values, "near zero": np.abs(values)}[better]
    return scores[int(np.nanargmax(badness))].case_id


def _is_distance(name: str, summary: Summary) -> bool:
    return name in summary.metrics and (name == "hausdorff_mm" or metric_named(name).title.startswith("HD"))


def _mean(metric: MetricSummary, digits: str, unit: str = "") -> str:
    return "undefined" if math.isnan(metric.mean) else f"{metric.mean:{digits}}{unit}"


def _count(metric: MetricSummary) -> str:
    return f"(n {metric.n}, {metric.n_penalised} penalised)" if metric.n_penalised else f"(n {metric.n})"


def _no_summary(path: str | Path, found: str) -> MedganError:
    return MedganError(
        f"summary {path} must be the JSON that `medgan evaluate` writes, found {found}. Run `medgan evaluate` again."
    )


def _first_fault(error: ValidationError, document: dict[str, Any]) -> str:
    """Return the first place of a document that is not as it must be, and what stands there."""
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    if place[:1] == ["organs"] and len(place) > 1:
        place[1] = list(document["organs"])[int(place[1])]
    if error.title == EvaluationConfig.__name__:
        place = ["evaluation", *place]
    key = ".".join(place)
    return f"no {key}" if first["type"] == "missing" else f"{first['input']!r:.80} as {key}"


def _contradiction(summary: Summary) -> str:
    """Return what in a summary does not go together, empty if all does."""
    if not summary.organs:
        return "no organs"
    if missing := [name for name in EvaluationConfig.model_fields if name not in summary.evaluation]:
        return f"no evaluation.{missing[0]}"
    for organ in summary.organs:
        if tuple(organ.metrics) != summary.metrics:
            return f"other metrics of {organ.organ} than of {summary.organs[0].organ}"
    evaluation = EvaluationConfig.model_validate(summary.evaluation)
    others = [definition for surface, definition in SURFACES.items() if surface != evaluation.surface]
    contradicted = {
        "undefined": (summary.penalty_mm is None) == (evaluation.undefined == "penalise"),
        "surface": summary.surface_definition in others,
        "surface_tolerance_mm": any(evaluation.tolerance_of(o.organ) != o.tolerance_mm for o in summary.organs),
    }
    name = next((name for name, is_contradicted in contradicted.items() if is_contradicted), None)
    return f"{summary.evaluation[name]!r:.80} as evaluation.{name}, with which it was not made" if name else ""


def _with_named_organs(document: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a summary with its organs as a list, each with its name, and NaN for numbers that are null."""
    return {**document, "organs": [_named_organ(name, organ) for name, organ in document["organs"].items()]}


def _named_organ(name: str, organ: Any) -> Any:
    if not isinstance(organ, dict):
        return organ
    metrics = {"metrics": _with_nan(organ["metrics"])} if "metrics" in organ else {}
    agreement = {"agreement": _with_nan(organ["agreement"])} if organ.get("agreement") else {}
    return {**organ, **metrics, **agreement, "organ": name}


def _with_nan(value: Any) -> Any:
    """Return JSON with NaN where it says null."""
    if isinstance(value, dict):
        return {name: _with_nan(inner) for name, inner in value.items()}
    return math.nan if value is None else value
