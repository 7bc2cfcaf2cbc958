"""Reading and writing manifests. Everything wrong with one is found before any work starts, and told at once."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from medgan.errors import raise_all
from medgan.files import write_text
from medgan.manifest.case import Case, Split
from medgan.manifest.case_ids import case_id_problem, comparable
from medgan.manifest.splits import assign_validation
from medgan.manifest.tables import Row, read_rows

_SPLITS: tuple[Split, ...] = get_args(Split)
_FORMULA_STARTS = ("=", "+", "-", "@")


def read_manifest(
    path: str | Path, *, val_fraction: float = 0.1, seed: int = 0, root: str | Path | None = None
) -> list[Case]:
    """Return the cases of a CSV or JSON manifest, in its order.

    data_manifests/README.md describes the columns and the JSON forms. Where no row is marked `val`, a seeded
    `val_fraction` of the training patients becomes the validation split.

    Args:
        path: the manifest. Paths in it start at its folder.
        val_fraction: fraction of the training patients set aside for validation; 0 sets none aside.
        seed: seed of that choice.
        root: the folder that no path, absolute, with `..` or through a symbolic link, may leave; the manifest's own
            folder if None.

    Raises:
        MedganError: with every problem listed, each with its row, case and field.

    Example:
        >>> cases = read_manifest("cohort/manifest.csv")  # doctest: +SKIP
        >>> cases[0].case_id, cases[0].split  # doctest: +SKIP
        ('phantom_01', 'train')
    """
    path = Path(path)
    rows = read_rows(path)
    root = Path(root if root is not None else path.parent)
    files = [_files_of(row, path.parent) for row in rows]
    problems = [] if rows else ["is empty; it must hold at least one case."]
    for row, row_files in zip(rows, files, strict=True):
        problems += _row_problems(row)
        problems += [found for file in row_files if (found := _file_problem(row, *file, root=root))]
    problems += _id_conflicts(rows) + _image_conflicts(rows, files) + _patient_conflicts(rows) + _uneven(rows)
    raise_all(problems, where=f"manifest {path}")
    cases = [_case_of(row, path.parent) for row in rows]
    if any(case.split == "val" for case in cases):
        return cases
    return assign_validation(cases, fraction=val_fraction, seed=seed)


def write_manifest(cases: Sequence[Case], path: str | Path) -> None:
    """Write cases as a CSV manifest, atomically, with paths relative to its folder where there is a way."""
    path = Path(path)
    num_channels = max((len(case.images) for case in cases), default=1)
    images = ["image"] if num_channels == 1 else [f"image_{n}" for n in range(num_channels)]
    grid = ["label_grid"] if any(case.resample_label for case in cases) else []
    text = io.StringIO()
    series = ["series"] if any(case.series for case in cases) else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case_id", *images, "label", "split", "patient", *grid, *series])
    for case in cases:
        label = _relative(case.label, path.parent) if case.label else ""
        channels = [_relative(image, path.parent) for image in case.images]
        tail = ["resample" if case.resample_label else "same"] if grid else []
        tail += [case.series] if series else []
        writer.writerow([case.case_id, *channels, label, case.split or "", case.patient or case.case_id, *tail])
    write_text(path, text.getvalue())


def _files_of(row: Row, folder: Path) -> list[tuple[str, Path]]:
    """Return the files a row names, each with its field; empty cells are left out."""
    fields = ["image"] if len(row.images) == 1 else [f"image (channel {n + 1})" for n in range(len(row.images))]
    files = [(field, folder / text) for field, text in zip(fields, row.images, strict=True) if text]
    return [*files, ("label", folder / row.label)] if row.label else files


def _named(row: Row) -> str:
    return f"{row.place} ({row.case_id})" if row.case_id else row.place


def _row_problems(row: Row) -> list[str]:
    found = [case_id_problem(row.case_id)]
    if not row.images or not all(row.images):
        found.append("image must not be empty")
    if row.split and row.split not in _SPLITS:
        found.append(f"split must be one of {', '.join(_SPLITS)}, found {row.split!r}")
    if row.split in ("train", "val") and not row.label:
        found.append(f"label is missing; a {row.split} case must have one")
    for field, text in (("patient", row.patient), ("series", row.series)):
        if text.startswith(_FORMULA_STARTS) or not text.isprintable():
            found.append(f"{field} {text!r} must be printable and not start with = + - @")
    if row.series and len(row.images) > 1:
        found.append(f"series needs a single image, found {len(row.images)} channels")
    if row.label_grid not in ("", "same", "resample"):
        found.append(f"label_grid must be 'same' or 'resample', found {row.label_grid!r}")
    return [f"{_named(row)}: {problem}." for problem in found if problem]


def _file_problem(row: Row, field: str, path: Path, *, root: Path) -> str | None:
    start = f"{_named(row)}: {field} {path}"
    try:
        if outside := outside_problem(path, root=root):
            return f"{start}: {outside}"
        if path.is_dir():
            return None if any(path.iterdir()) else f"{start}: is an empty folder."
        return None if path.stat().st_size else f"{start}: is empty (0 bytes)."
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        hint = " Write paths with '/'." if "\\" in str(path) else ""
        return f"{start}: {getattr(error, 'strerror', None) or error}.{hint}"


def outside_problem(path: Path, *, root: Path) -> str | None:
    """Return why a path, resolved, may not be read, as the end of a message, or None if it lies in `root`.

    Raises:
        ValueError: if it holds a null byte.
        OSError: if it cannot be resolved.
    """
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        return None
    return (
        f"lies, or is a symbolic link to a file, outside the data folder {root}. Move it there, or name a folder that "
        "holds all data as the data root."
    )


def _id_conflicts(rows: Sequence[Row]) -> list[str]:
    """Two ids that a file system may take for one would overwrite each other's outputs."""
    by_id: dict[str, list[Row]] = {}
    for row in rows:
        if row.case_id:
            by_id.setdefault(comparable(row.case_id), []).append(row)
    return [
        f"duplicate case_id: {', '.join(_named(row) for row in same)}; every case needs its own."
        for same in by_id.values()
        if len(same) > 1
    ]


def _image_conflicts(rows: Sequence[Row], files: Sequence[list[tuple[str, Path]]]) -> list[str]:
    users: dict[str, list[Row]] = {}
    for row, row_files in zip(rows, files, strict=True):
        for field, path in row_files:
            if field != "label" and "\0" not in str(path):
                users.setdefault(os.path.realpath(path), []).append(row)
    return [
        f"the same image {Path(path).name} stands twice: {', '.join(_named(row) for row in same)}."
        for path, several in users.items()
        if len(same := _of_one_series(several)) > 1
    ]


def _of_one_series(rows: list[Row]) -> list[Row]:
    """Return those of the rows of one folder or zip that may mean the same image; a row without a series may be any."""
    named = [row.series for row in rows]
    return rows if "" in named else [row for row in rows if named.count(row.series) > 1]


def _patient_conflicts(rows: Sequence[Row]) -> list[str]:
    places: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.split:
            places.setdefault(row.patient or row.case_id, {}).setdefault(row.split, row)
    return [
        f"patient {patient} is in two splits: "
        + ", ".join(f"{split} in {_named(row)}" for split, row in by_split.items())
        + "; all cases of a patient must be in one."
        for patient, by_split in places.items()
        if len(by_split) > 1
    ]


def _uneven(rows: Sequence[Row]) -> list[str]:
    problems = []
    if any(row.split for row in rows):
        problems += [
            f"{_named(row)}: split is empty, but other rows have one; only a case without a label may do without."
            for row in rows
            if row.label and not row.split
        ]
    expected = len(rows[0].images) if rows else 0
    problems += [
        f"{_named(row)}: must have {expected} image channels like the first row, found {len(row.images)}."
        for row in rows
        if len(row.images) != expected
    ]
    return problems


def _case_of(row: Row, folder: Path) -> Case:
    return Case(
        case_id=row.case_id,
        images=tuple(folder / text for text in row.images),
        label=folder / row.label if row.label else None,
        split=next((split for split in _SPLITS if split == row.split), None),
        patient=row.patient or row.case_id,
        resample_label=row.label_grid == "resample",
        series=row.series,
    )


def _relative(path: Path, folder: Path) -> str:
    """Return a path as a cell that is no spreadsheet formula and that reading, which strips cells, leaves as it is."""
    try:
        text = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return path.resolve().as_posix()
    return f"./{text}" if text.startswith(_FORMULA_STARTS) or text[:1].isspace() else text
