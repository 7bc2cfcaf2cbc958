"""A table of pairs: a CSV that names reference and prediction of every case, wherever they lie."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medgan.errors import MedganError, raise_all
from medgan.manifest.case_ids import case_id_problem, comparable
from medgan.manifest.read import outside_problem
from medgan.manifest.tables import full_rows, header_problems, read_cells

_REQUIRED = ("case_id", "reference", "prediction")
_FILES = ("reference", "prediction", "image", "region")


@dataclass(frozen=True)
class PairRow:
    """One row.

    Attributes:
        place: where it stands, for messages.
        case_id: of the row.
        files: paths by column; a column that is empty in this row is left out.
    """

    place: str
    case_id: str
    files: dict[str, Path]


def is_pair_table(path: Path) -> bool:
    """Return whether a file is a CSV with a column reference or prediction, which no manifest has.

    One with another separator, or the names in capitals, is meant to be such a table, and told to be none when read.

    Raises:
        MedganError: if a CSV cannot be read, or is empty.
    """
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    lines = read_cells(path, where=f"table {path}")
    if not lines:
        raise MedganError(
            f"table {path}: is empty; it needs the columns {', '.join(_REQUIRED)}, and a row for each case."
        )
    names = {name.strip().lower() for cell in lines[0][1] for name in re.split(r"[;\t|]", cell)}
    return not {"reference", "prediction"}.isdisjoint(names)


def read_pair_table(path: Path, *, root: str | Path | None = None) -> list[PairRow]:
    """Return the rows of a CSV with the columns case_id, reference, prediction and, if wanted, image and region.

    A file that is not there, and an empty cell, are left to whoever pairs: they concern one case only.

    Args:
        path: the table. Paths in it start at its folder.
        root: the folder that no path may leave, as in `read_manifest`; the table's own folder if None.

    Raises:
        MedganError: with every problem listed.
    """
    where = f"table {path}"
    (_, header), *body = read_cells(path, where=where)
    problems = header_problems(header, columns=("case_id", *_FILES), required=_REQUIRED)
    found = full_rows(header, body, problems)
    raise_all(problems, where=where)
    if not found:
        raise MedganError(f"{where}: is empty; it must hold at least one case.")
    rows = [_row_of(f"row {number}", dict(zip(header, cells, strict=True)), path.parent) for number, cells in found]
    folder = Path(root if root is not None else path.parent)
    raise_all([problem for row in rows for problem in _problems_of(row, folder)] + _conflicts(rows), where=where)
    return rows


def _row_of(place: str, cells: dict[str, str], folder: Path) -> PairRow:
    files = {column: folder / cells[column] for column in _FILES if cells.get(column)}
    return PairRow(f"{place} ({cells['case_id']})" if cells["case_id"] else place, cells["case_id"], files)


def _problems_of(row: PairRow, root: Path) -> list[str]:
    problem = case_id_problem(row.case_id)
    found = [f"{row.place}: {problem}."] if problem else []
    for column, path in row.files.items():
        try:
            outside = outside_problem(path, root=root)
        except (OSError, ValueError) as error:  # ValueError: a null byte in the path
            outside = f"{getattr(error, 'strerror', None) or error}."
        if outside:
            found.append(f"{row.place}: {column} {path}: {outside}")
    return found


def _conflicts(rows: Sequence[PairRow]) -> list[str]:
    """Two cases of one id would overwrite each other's outputs; one pair under two ids would count twice."""
    by_id: dict[str, list[str]] = {}
    by_files: dict[tuple[Path, Path], list[str]] = {}
    for row in rows:
        if row.case_id:
            by_id.setdefault(comparable(row.case_id), []).append(row.place)
        if {"reference", "prediction"} <= row.files.keys():
            by_files.setdefault((row.files["reference"], row.files["prediction"]), []).append(row.place)
    return [
        *(f"duplicate case_id: {', '.join(p)}; every case needs its own." for p in by_id.values() if len(p) > 1),
        *(f"the same pair stands twice: {', '.join(p)}." for p in by_files.values() if len(p) > 1),
    ]
