"""Scores of many cases as a table, scores.csv: one row per case and organ, one column per metric."""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgan.errors import MedganError, raise_all
from medgan.evaluation.metrics import METRICS, metric_named
from medgan.evaluation.scores import Score
from medgan.files import write_text

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")
_REQUIRED = ("reference_ml", "prediction_ml", "diagonal_mm")  # numbers without which a row says nothing
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def write_scores_csv(scores: Sequence[Score], path: str | Path) -> None:
    """Write one row per score to `path`, atomically; an undefined value is an empty cell.

    Columns are case_id, organ, the metrics in their order, and diagonal_mm. Text that a spreadsheet would run as a
    formula (it starts with =, +, -, @ or a control character) gets a leading apostrophe, and so does text that starts
    with one; `read_scores_csv` takes it off again.

    Raises:
        MedganError: if the file cannot be written.
    """
    metrics = list(dict.fromkeys(name for score in scores for name in score.values))
    rows = [["case_id", "organ", *metrics, "diagonal_mm"]]
    for score in scores:
        values = [number_cell(score.values.get(name, math.nan)) for name in metrics]
        rows.append([text_cell(score.case_id), text_cell(score.organ), *values, number_cell(score.diagonal_mm)])
    write_text(path, "".join(",".join(row) + "\n" for row in rows))


def read_scores_csv(path: str | Path) -> list[Score]:
    """Read the scores that `write_scores_csv` wrote; columns that are no metric are left alone.

    Raises:
        MedganError: if the file is missing or of an older medgan, or with every bad row listed: one of another length,
            a value that its metric cannot have, an organ of a case that is there twice.
    """
    (_, columns), *rows = _read_lines(path) or [(1, [])]
    _check_columns(columns, path)
    limits = {column: _limits_of(column) for column in columns if _is_metric(column) or column in _REQUIRED}
    problems: list[str] = []
    scores: dict[tuple[str, str], Score] = {}
    for line, cells in rows:
        found, score = _score_of(columns, cells, limits)
        problems += [f"line {line}: {problem}" for problem in found]
        if score and (score.case_id, score.organ) in scores:
            problems.append(f"line {line}: organ {score.organ} of case {score.case_id} is there twice.")
        elif score:
            scores[score.case_id, score.organ] = score
    raise_all(problems, where=f"scores {path}")
    return list(scores.values())


def _read_lines(path: str | Path) -> list[tuple[int, list[str]]]:
    """Return the rows of a CSV file that are not empty, each with the line it begins in."""
    rows: list[tuple[int, list[str]]] = []
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader, line = csv.reader(file, strict=True), 1
            for cells in reader:
                rows += [(line, cells)] if cells else []
                line = reader.line_num + 1
    except OSError as error:
        raise MedganError(f"scores {path} could not be read: {error.strerror}. Run `medgan evaluate` first.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise MedganError(f"scores {path} must be CSV in UTF-8, but {error}. Run `medgan evaluate` again.") from error
    return rows


def _check_columns(columns: Sequence[str], path: str | Path) -> None:
    if len(columns) == 1 and (separator := next((s for s in ";\t" if s in columns[0]), None)):
        raise MedganError(f"scores {path} must have cells separated by commas, found {separator!r} in the header.")
    missing = [column for column in ("case_id", "organ", *_REQUIRED) if column not in columns]
    if missing == ["diagonal_mm"]:
        raise MedganError(
            f"scores {path} have no column diagonal_mm: an older medgan wrote them. Run `medgan evaluate` again."
        )
    if missing:
        raise MedganError(
            f"scores {path} must have the columns that `medgan evaluate` writes; missing: {', '.join(missing)}."
        )
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise MedganError(f"scores {path} must have every column once; there twice: {', '.join(twice)}.")


def _is_metric(column: str) -> bool:
    try:
        metric_named(column)
    except MedganError:
        return False
    return True


def number_cell(value: float) -> str:
    """Return a number as a cell that reads back unchanged, empty for NaN."""
    return "" if math.isnan(value) else repr(float(value))


def text_cell(value: str) -> str:
    """Return text as a cell: quoted where it must be, and with an apostrophe where a spreadsheet would run it."""
    text = f"'{value}" if value.startswith(_FORMULA_STARTS) else value
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\r\n]', text) else text  # csv.writer leaves \r bare


def _score_of(
    columns: Sequence[str], cells: Sequence[str], limits: Mapping[str, tuple[float, float]]
) -> tuple[list[str], Score | None]:
    """Return what is wrong with a row, and its score if nothing is."""
    if len(cells) != len(columns):
        return [f"must have {len(columns)} cells like the header, found {len(cells)}."], None
    row = dict(zip(columns, cells, strict=True))
    names = {name: row[name].removeprefix("'") for name in ("case_id", "organ")}
    problems = [
        f"{name} must be text without null characters, found {text!r:.80}."
        for name, text in names.items()
        if not text or "\0" in text
    ]
    numbers = {column: _number_in(row[column]) for column in limits}
    for column, (low, high) in limits.items():
        or_empty = "" if column in _REQUIRED else " or empty"
        if not math.isfinite(numbers[column]) and (row[column] or not or_empty):
            problems.append(f"{column} must be a number{or_empty}, found {row[column]!r:.80}.")
        elif not low <= numbers[column] <= high and row[column]:
            wanted = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
            problems.append(f"{column} must be {wanted}{or_empty}, found {row[column]!r:.80}.")
    diagonal_mm = numbers.pop("diagonal_mm")
    return problems, None if problems else Score(names["case_id"], names["organ"], numbers, diagonal_mm)


def _number_in(cell: str) -> float:
    """Return the number that a cell holds, NaN where it holds none: not all that Python takes for one is one here."""
    return float(cell) if _NUMBER.fullmatch(cell) else math.nan


def _limits_of(column: str) -> tuple[float, float]:
    """Return the least and the largest value that a column may hold, and a little more: sums of areas are rounded."""
    if column == "volume_error_ml":
        return -math.inf, math.inf
    if column == "volume_error_percent":
        return -100.000001, math.inf
    is_share = column in METRICS and not METRICS[column].unit
    return 0.0, 1.000001 if is_share else math.inf
