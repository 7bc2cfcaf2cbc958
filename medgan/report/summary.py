"""Scores of many cases as a table (scores.csv) and summarised per organ and metric (summary.json)."""

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from medgan.errors import MedganError, raise_all
from medgan.evaluation.scores import METRICS, Score
from medgan.evaluation.surface import BOUNDARY_VOXELS
from medgan.files import write_json, write_text
from medgan.provenance import package_versions

NUM_RESAMPLES = 2000
_COLUMNS = tuple(f.name for f in fields(Score))
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one organ over the cases. Only defined values count; everything but the counts may be NaN.

    Attributes:
        n: cases in which the metric is defined.
        n_undefined: cases in which it is not.
        mean: of the defined values, like all that follow.
        sd: sample standard deviation (n - 1).
        median: the middle.
        q1: first quartile.
        q3: third quartile.
        minimum: the smallest.
        maximum: the largest.
        mean_low: lower end of the 95% bootstrap interval of the mean; NaN for fewer than two values.
        mean_high: its upper end.
    """

    n: int
    n_undefined: int
    mean: float = math.nan
    sd: float = math.nan
    median: float = math.nan
    q1: float = math.nan
    q3: float = math.nan
    minimum: float = math.nan
    maximum: float = math.nan
    mean_low: float = math.nan
    mean_high: float = math.nan


@dataclass(frozen=True)
class OrganSummary:
    """One organ over the cases.

    Attributes:
        organ: its name.
        num_cases: cases scored.
        num_missed: cases with the organ in the reference and none of it in the prediction.
        num_invented: cases with the organ in the prediction and none of it in the reference.
        num_absent: cases with the organ in neither.
        metrics: a summary per key of `METRICS`.
    """

    organ: str
    num_cases: int
    num_missed: int
    num_invented: int
    num_absent: int
    metrics: Mapping[str, MetricSummary]


@dataclass(frozen=True)
class Summary:
    """What summary.json holds.

    Attributes:
        num_cases: cases scored.
        organs: in the order of the scores.
        surface_definition: what the distances were measured between.
        surface_tolerance_mm: of the surface Dice.
        interval: how the intervals were made.
        versions: of the software that computed it.
        not_evaluated: cases that could not be compared, and one sentence why.
        settings: whatever the caller wants to be on record: paths, config, hashes.
    """

    num_cases: int
    organs: tuple[OrganSummary, ...]
    surface_tolerance_mm: float
    surface_definition: str = BOUNDARY_VOXELS
    interval: str = f"95% percentile bootstrap of the mean over cases, {NUM_RESAMPLES} resamples"
    versions: Mapping[str, str] = field(default_factory=package_versions)
    not_evaluated: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)


def summarise(
    scores: Sequence[Score],
    *,
    surface_tolerance_mm: float,
    not_evaluated: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
    seed: int = 0,
) -> Summary:
    """Return the summary of `scores`, per organ and metric.

    Undefined values are counted, never averaged; an organ missed or invented is counted by name.

    Args:
        scores: of all cases, in any order.
        surface_tolerance_mm: with which they were made.
        not_evaluated: cases without scores, and one sentence why.
        settings: kept as they are for the record.
        seed: of the bootstrap.

    Raises:
        MedganError: if there are no scores.
    """
    if not scores:
        raise MedganError("a summary needs at least one scored case, found none.")
    organs = tuple(
        _summarise_organ(organ, [score for score in scores if score.organ == organ], seed=seed)
        for organ in dict.fromkeys(score.organ for score in scores)
    )
    return Summary(
        num_cases=len({score.case_id for score in scores}),
        organs=organs,
        surface_tolerance_mm=surface_tolerance_mm,
        not_evaluated=dict(not_evaluated or {}),
        settings={**(settings or {}), "bootstrap_seed": seed},
    )


def summarise_values(values: Sequence[float], *, seed: int = 0) -> MetricSummary:
    """Return the summary of one metric's values, NaN where undefined.

    The interval depends on the values and the seed alone, not on what else is summarised.
    """
    defined = np.array([value for value in values if not math.isnan(value)])
    n, n_undefined = defined.size, len(values) - defined.size
    if not n:
        return MetricSummary(n, n_undefined)
    several = n > 1
    low, high = np.percentile(_resample_weights(n, seed) @ defined, (2.5, 97.5)) if several else (math.nan, math.nan)
    minimum, q1, median, q3, maximum = np.percentile(defined, (0, 25, 50, 75, 100)).tolist()
    return MetricSummary(
        n=n,
        n_undefined=n_undefined,
        mean=float(defined.mean()),
        sd=float(defined.std(ddof=1)) if several else math.nan,
        median=median,
        q1=q1,
        q3=q3,
        minimum=minimum,
        maximum=maximum,
        mean_low=float(low),
        mean_high=float(high),
    )


def summarise_briefly(summary: Summary) -> list[str]:
    """Return a line per organ for the terminal: mean Dice and HD95, each with its n, and what was missed or invented.

    Example:
        >>> for line in summarise_briefly(summary): print(line)
        left_lung  Dice 0.641 (n 3)  HD95 4.1 mm (n 2)  missed in 1
        heart      Dice 0.941 (n 3)  HD95 3.0 mm (n 3)
    """
    width = max(len(organ.organ) for organ in summary.organs)
    lines = []
    for organ in summary.organs:
        dice, hd95 = organ.metrics["dice"], organ.metrics["hd95_mm"]
        line = f"{organ.organ:<{width}}  Dice {dice.mean:.3f} (n {dice.n})  HD95 {hd95.mean:.1f} mm (n {hd95.n})"
        line += f"  missed in {organ.num_missed}" if organ.num_missed else ""
        lines.append(line + (f"  invented in {organ.num_invented}" if organ.num_invented else ""))
    return lines


def write_summary(summary: Summary, path: str | Path) -> None:
    """Write `summary` to `path` as JSON, atomically; NaN becomes null."""
    document = asdict(summary)
    document["organs"] = {organ.pop("organ"): organ for organ in document["organs"]}
    write_json(path, document)


def read_summary(path: str | Path) -> Summary:
    """Read what `write_summary` wrote.

    Raises:
        MedganError: if the file is missing or is not such a summary.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        organs = tuple(_organ_from_json(name, organ) for name, organ in document.pop("organs").items())
        return Summary(organs=organs, **document)
    except OSError as error:
        raise MedganError(
            f"summary {path} could not be read: {error.strerror}. Run `medgan evaluate` first."
        ) from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise MedganError(
            f"summary {path} must be the JSON that `medgan evaluate` writes, found something else ({error}). "
            "Run `medgan evaluate` again."
        ) from error


def write_scores_csv(scores: Sequence[Score], path: str | Path) -> None:
    """Write one row per score to `path`, atomically; an undefined value is an empty cell.

    Text that a spreadsheet would run as a formula (it starts with =, +, -, @ or a control character) gets a leading
    apostrophe, and so does text that starts with one; `read_scores_csv` takes it off again.
    """
    rows = [[_cell(getattr(score, column)) for column in _COLUMNS] for score in scores]
    write_text(path, "".join(",".join(row) + "\n" for row in [_COLUMNS, *rows]))


def read_scores_csv(path: str | Path) -> list[Score]:
    """Read the scores that `write_scores_csv` wrote; further columns are left alone.

    Raises:
        MedganError: if the file is missing, or with every bad row listed.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedganError(f"scores {path} could not be read: {error}. Run `medgan evaluate` first.") from error
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise MedganError(f"scores {path} must have the columns {', '.join(_COLUMNS)}; missing: {', '.join(missing)}.")
    problems: list[str] = []
    scores = [_score_from_row(row, line, problems) for line, row in enumerate(rows, start=2)]
    raise_all(problems, where=f"scores {path}")
    return [score for score in scores if score is not None]


def _summarise_organ(organ: str, scores: Sequence[Score], *, seed: int) -> OrganSummary:
    return OrganSummary(
        organ=organ,
        num_cases=len(scores),
        num_missed=sum(score.is_missed for score in scores),
        num_invented=sum(score.is_invented for score in scores),
        num_absent=sum(score.is_absent for score in scores),
        metrics={name: summarise_values([getattr(score, name) for score in scores], seed=seed) for name in METRICS},
    )


@lru_cache(maxsize=4)
def _resample_weights(n: int, seed: int) -> np.ndarray:
    """Return (resamples, n): how often each of n cases is drawn, divided by n."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(n, np.full(n, 1 / n), size=NUM_RESAMPLES) / n


def _organ_from_json(name: str, document: dict[str, Any]) -> OrganSummary:
    metrics = {
        metric: MetricSummary(**{**values, **{key: math.nan for key, value in values.items() if value is None}})
        for metric, values in document.pop("metrics").items()
    }
    return OrganSummary(organ=name, metrics=metrics, **document)


def _cell(value: str | float) -> str:
    if not isinstance(value, str):
        return "" if math.isnan(value) else repr(float(value))
    text = f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text  # csv.writer leaves \r bare


def _score_from_row(row: dict[str, str | None], line: int, problems: list[str]) -> Score | None:
    values: dict[str, Any] = {}
    for column in _COLUMNS:
        text = row[column]
        if text is None:
            problems.append(f"line {line}: column {column} is missing; the line is too short.")
            return None
        if column in ("case_id", "organ"):
            values[column] = text.removeprefix("'")
            continue
        try:
            values[column] = float(text) if text else math.nan
        except ValueError:
            problems.append(f"line {line}: {column} must be a number or empty, found {text!r}.")
            return None
    return Score(**values)
