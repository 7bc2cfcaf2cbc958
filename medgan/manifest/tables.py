"""From a manifest file to its rows: CSV, JSON list, or MSD/MONAI datalist, before anything in them is checked."""

import csv
import difflib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from medgan.errors import MedganError, raise_all
from medgan.manifest.case_ids import distinct_case_ids

COLUMNS = ("case_id", "image", "label", "split", "patient", "label_grid", "series")
_TEXTS = tuple(name for name in COLUMNS if name != "image")
SECTIONS: Mapping[str, str] = {"training": "train", "validation": "val", "test": "test"}
_MAX_BYTES = 200_000_000


@dataclass(frozen=True)
class Row:
    """The texts of one row; empty where the manifest gives nothing.

    Attributes:
        place: where the row stands, for messages ("row 3", "training entry 2").
        case_id, label, split, patient, label_grid, series: the fields of the same names.
        images: one path per channel, as written.
    """

    place: str
    case_id: str
    images: tuple[str, ...]
    label: str
    split: str
    patient: str
    label_grid: str
    series: str


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a `.csv` or `.json` manifest.

    Raises:
        MedganError: if the file cannot be read or parsed, with all malformed rows listed.
    """
    readers = {".csv": _csv_rows, ".json": _json_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise MedganError(f"manifest {path}: must be a .csv or .json file, found suffix {path.suffix!r}.")
    problems: list[str] = []
    rows = reader(_text_of(path, where=f"manifest {path}"), problems, where=f"manifest {path}")
    raise_all(problems, where=f"manifest {path}")
    return rows


def read_json(path: Path) -> object:
    """Return what a JSON file holds; keys that stand there twice, NaN and infinities are refused.

    Raises:
        MedganError: if it cannot be read or parsed.
    """
    return _document_of(_text_of(path, where=str(path)), where=str(path))


def _text_of(path: Path, *, where: str) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise MedganError(f"{where}: must be under {_MAX_BYTES} bytes, found {path.stat().st_size}.")
        return path.read_text(encoding="utf-8-sig")  # editors on Windows put a byte-order mark in front
    except UnicodeDecodeError as error:
        raise MedganError(
            f"{where}: must be UTF-8 text, found byte 0x{error.object[error.start]:02x} at position "
            f"{error.start}. Save it again with UTF-8 encoding."
        ) from error
    except OSError as error:
        raise MedganError(f"{where}: could not be read: {error.strerror or error}.") from error


def read_cells(path: Path, *, where: str) -> list[tuple[int, list[str]]]:
    """Return the lines of a CSV file that are not empty: the number of each, and its cells without space around them.

    Args:
        path: the file.
        where: opens messages, as in "table pairs.csv".

    Raises:
        MedganError: if it cannot be read or parsed.
    """
    return _cells_of(_text_of(path, where=where), where=where)


def _cells_of(text: str, *, where: str) -> list[tuple[int, list[str]]]:
    try:
        table = [[cell.strip() for cell in cells] for cells in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except csv.Error as error:
        raise MedganError(f"{where}: is not valid CSV: {error}.") from error
    return [(number, cells) for number, cells in enumerate(table, start=1) if any(cells)]


def _csv_rows(text: str, problems: list[str], *, where: str) -> list[Row]:
    lines = _cells_of(text, where=where)
    if not lines:
        raise MedganError(f"{where}: is empty; it needs the columns case_id and image, and at least one case.")
    (_, header), body = lines[0], lines[1:]
    images = [name for name in header if name.startswith("image")]
    problems += header_problems(header, columns=(*COLUMNS, *images), required=("case_id", *(images[:1] or ["image"])))
    return [_row_of_cells(f"row {number}", header, cells) for number, cells in full_rows(header, body, problems)]


def full_rows(header: list[str], body: list[tuple[int, list[str]]], problems: list[str]) -> list[tuple[int, list[str]]]:
    """Return the rows with as many cells as the header; the others are told in `problems`."""
    problems += [
        f"row {number}: must have {len(header)} cells like the header, found {len(cells)}."
        for number, cells in body
        if len(cells) != len(header)
    ]
    return [(number, cells) for number, cells in body if len(cells) == len(header)]


def header_problems(header: list[str], *, columns: Sequence[str], required: Sequence[str]) -> list[str]:
    """Return what is wrong with the header of a table.

    Args:
        header: as found.
        columns: those there may be.
        required: those there must be.
    """
    if len(header) == 1 and (separator := next((s for s in ";\t|" if s in header[0]), None)):
        return [f"cells must be separated by commas, found {separator!r} in the header."]
    twice = sorted({name for name in header if header.count(name) > 1})
    misspelt = {name.lower() for name in header if name not in columns}  # told once, not as missing too
    return [
        *(f"column {name!r} stands in the header twice." for name in twice),
        *(_unknown("column", name, columns) for name in header if name not in columns),
        *(f"column {name!r} is missing." for name in required if name not in header and name not in misspelt),
    ]


def _row_of_cells(place: str, header: list[str], cells: list[str]) -> Row:
    found = dict(zip(header, cells, strict=True))
    images = tuple(cell for name, cell in zip(header, cells, strict=True) if name.startswith("image"))
    return Row(place, images=images, **{name: found.get(name, "") for name in _TEXTS})


def _json_rows(text: str, problems: list[str], *, where: str) -> list[Row]:
    document = _document_of(text, where=where)
    if isinstance(document, list):
        return _listed_rows(document, problems)
    if isinstance(document, dict) and SECTIONS.keys() & document.keys():
        return _datalist_rows(document, problems)
    raise MedganError(
        f"{where}: must be a list of cases, or an MSD/MONAI datalist with 'training', 'validation' or 'test'; "
        f"found {_shape_of(document)}."
    )


def _document_of(text: str, *, where: str) -> object:
    try:
        document: object = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # json.JSONDecodeError is a ValueError and names line and column
        raise MedganError(f"{where}: is not valid JSON: {error}.") from error
    return document


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"duplicate key {repeated!r}")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _listed_rows(entries: list[object], problems: list[str]) -> list[Row]:
    rows = []
    for number, entry in enumerate(entries, start=1):
        place = f"entry {number}"
        if not isinstance(entry, dict):
            problems.append(f"{place}: must be an object with case_id and image, found {_shape_of(entry)}.")
            continue
        unknown = [key for key in entry if key not in COLUMNS and not key.startswith("image")]
        problems += [f"{place}: {_unknown('key', key)}" for key in unknown]
        images = [_images_of(entry[key], f"{place}: {key}", problems) for key in entry if key.startswith("image")]
        texts = {key: _text(entry.get(key), f"{place}: {key}", problems) for key in _TEXTS}
        rows.append(Row(place, images=tuple(path for group in images for path in group), **texts))
    return rows


def _datalist_rows(document: dict[str, object], problems: list[str]) -> list[Row]:
    """Return the rows of a datalist; keys that other tools keep there beside the sections are left alone."""
    rows = []
    for key, value in document.items():
        if key in SECTIONS and not isinstance(value, list):
            problems.append(f"{key}: must be a list of cases, found {_shape_of(value)}.")
        elif key in SECTIONS and isinstance(value, list):
            rows += _section_rows(key, value, problems, folds="validation" not in document)
        elif isinstance(value, list) and any(isinstance(entry, dict) and "image" in entry for entry in value):
            problems.append(f"section {key!r} is unknown; the sections are {', '.join(SECTIONS)}.")
    named = distinct_case_ids([Path(row.images[0]) if row.images else Path() for row in rows])
    return [row if row.case_id else replace(row, case_id=case_id) for row, case_id in zip(rows, named, strict=True)]


def _section_rows(section: str, entries: list[object], problems: list[str], *, folds: bool) -> list[Row]:
    rows = []
    for number, entry in enumerate(entries, start=1):
        place = f"{section} entry {number}"
        found = {"image": entry} if isinstance(entry, str) else entry  # MSD lists its test images as plain paths
        if not isinstance(found, dict):
            problems.append(f"{place}: must be an object with image and label, found {_shape_of(entry)}.")
            continue
        images = _images_of(found.get("image"), f"{place}: image", problems)
        texts = {key: _text(found.get(key), f"{place}: {key}", problems) for key in _TEXTS if key != "split"}
        split = "val" if folds and section == "training" and found.get("fold") == 0 else SECTIONS[section]
        rows.append(Row(place, images=images, split=split, **texts))
    return rows


def _images_of(value: object, where: str, problems: list[str]) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(_text(item, where, problems) for item in value)
    return (_text(value, where, problems),)


def _text(value: object, where: str, problems: list[str]) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    problems.append(f"{where} must be text, found {_shape_of(value)}.")
    return ""


def _unknown(kind: str, name: str, columns: Sequence[str] = COLUMNS) -> str:
    close = difflib.get_close_matches(name.lower(), columns, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(dict.fromkeys(columns))}."
    return f"{kind} {name!r} is unknown; {hint}"


def _shape_of(value: object) -> str:
    if isinstance(value, dict):
        return f"an object with keys {', '.join(map(repr, list(value)[:6])) or '(none)'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)[:80]
