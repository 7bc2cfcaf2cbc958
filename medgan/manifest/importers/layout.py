"""What a finder, one per kind of data, hands over: images as the layout names them, and what it left out."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medgan.errors import MedganError
from medgan.labels import RESERVED_NAMES, LabelMap
from medgan.manifest.case import Split
from medgan.manifest.tables import read_json


@dataclass(frozen=True)
class Item:
    """One image of a layout, before it gets a case id.

    Attributes:
        name: what the layout calls it; it may name a person, so it is a case id only if the user asks for it.
        patient: what the layout calls the patient; another name for every patient.
        images: one path per channel.
        label: its label, or None.
        split: where the layout says it belongs; None in layouts without splits.
        series: which series of the folder or zip it is, where there are several.
        series_uid: the SeriesInstanceUID of a DICOM image.
    """

    name: str
    patient: str
    images: tuple[Path, ...]
    label: Path | None = None
    split: Split | None = None
    series: str = ""
    series_uid: str = ""


@dataclass(frozen=True)
class Skipped:
    """Something that is in no case: where it lies in the source, and why, without a word from a DICOM header."""

    source: str
    reason: str


@dataclass(frozen=True)
class Layout:
    """All that was found in a source."""

    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...] = ()
    labels: LabelMap | None = None


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files and sub-folders below a folder, sorted; hidden ones and links to folders are left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in folders)
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith("."))


def read_object(path: Path) -> dict[str, object]:
    """Return the object a JSON file holds.

    Raises:
        MedganError: if it holds none.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise MedganError(f"{path}: must hold a JSON object, found {type(document).__name__}.")
    return document


def label_map(values: Iterable[tuple[str, object]], *, where: str) -> LabelMap | None:
    """Return the organs of `(name, value)` pairs but the background (value 0), or None if there are none.

    What a labels file allows in no name becomes "_". A region, which is a list of values, becomes a group of organs; a
    value that stands in regions alone becomes an organ "label_" and the value. "ignore" is what a labels file means.

    Raises:
        MedganError: if two organs share a name or a value, or a value is no whole number.
    """
    organs: dict[str, object] = {}
    regions: dict[str, list[object]] = {}
    for name, value in values:
        if value == 0:
            continue
        allowed = re.sub(r"^[^\w]+|[^\w .-]+", "_", name.strip())
        if allowed in organs or allowed in regions:
            raise MedganError(f"{where}: two organs are called {allowed!r}; give each a name of its own.")
        if isinstance(value, list) and len(value) > 1:
            regions[allowed] = value
        else:
            organs[allowed] = value[0] if isinstance(value, list) and value else value
    names = {str(value): name for name, value in organs.items() if name not in RESERVED_NAMES}
    for value in (value for region in regions.values() for value in region):
        if str(value) not in names:
            names[str(value)] = f"label_{value}"
            organs[f"label_{value}"] = value
    groups = {name: {"organs": [names[str(value)] for value in region]} for name, region in regions.items()}
    return LabelMap.from_mapping({**organs, **groups}, where=where) if organs else None
