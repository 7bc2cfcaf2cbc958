"""A BIDS dataset, by its file names: sub-01/[ses-1/]anat/*_T1w.nii.gz, labels as *_dseg or *_mask in derivatives."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.importers.layout import Item, Layout, Skipped, label_map, walk
from medgan.manifest.importers.patterns import matches

_DATA_TYPES = ("anat", "ct")  # CT has no place in BIDS yet; ct/ is what datasets with it use
_SUFFIXES = (".nii.gz", ".nii")
_LABELS = ("dseg", "mask")  # the former is preferred: a mask is often that of the whole body or brain
_NO_IMAGES = ("dseg", "mask", "probseg", "defacemask")
_OF_DERIVATIVES = {"space", "res", "den", "label", "desc", "seg", "atlas", "hemi", "mod"}  # not of the image itself
_OWN_SPACES = {"orig", "individual", "native", "scanner"}


@dataclass(frozen=True)
class _File:
    """A file with the parts of its name: `sub-01_ses-1_T1w.nii.gz` has entities sub and ses, and suffix T1w."""

    path: Path
    shown: PurePosixPath

    @cached_property
    def stem(self) -> str:
        return next(self.path.name.removesuffix(end) for end in _SUFFIXES if self.path.name.endswith(end))

    @cached_property
    def suffix(self) -> str:
        return self.stem.rpartition("_")[2]

    @cached_property
    def entities(self) -> dict[str, str]:
        return _entities_in(self.stem)


def is_bids(source: Path) -> bool:
    """Return whether a folder has BIDS subjects with images."""
    return any(
        next(source.glob(f"sub-*/{session}{data_type}"), None) is not None
        for session in ("", "ses-*/")
        for data_type in _DATA_TYPES
    )


def find(source: Path, *, images: Sequence[str], labels: str) -> Layout:
    """Return every anatomical image with the label whose name says it belongs to it.

    Args:
        source: the dataset.
        images: patterns of the images to take, all if empty.
        labels: pattern of the labels to take, all if empty; of several for one image, a `dseg` goes before a `mask`.

    Raises:
        MedganError: if a table of organs is malformed.
    """
    files = [
        _File(path, PurePosixPath(path.relative_to(source).as_posix()))
        for path in walk(source)
        if path.name.startswith("sub-") and "_" in path.name and path.name.endswith(_SUFFIXES)
    ]
    found = [file for file in files if _is_image(file) and (not images or any(matches(p, file.shown) for p in images))]
    taken = [file for file in files if file.suffix in _LABELS and matches(labels, file.shown)]
    skipped: list[Skipped] = []
    joined = _joined(taken, found, skipped)
    items: list[Item] = []
    used: list[_File] = []
    for image in found:
        several = _preferred(joined.get(image.path, []))
        if len(several) > 1:
            names = ", ".join(str(label.shown) for label in several)
            skipped.append(Skipped(str(image.shown), f"has {len(several)} labels, {names}; choose with --labels"))
        else:
            label_path = several[0].path if several else None
            items.append(Item(image.stem, image.entities["sub"], (image.path,), label_path))
            used += several
    organs = _organs_of(used, source, skipped)
    return Layout(tuple(items), tuple(skipped), organs)


def _joined(labels: Sequence[_File], images: Sequence[_File], skipped: list[Skipped]) -> dict[Path, list[_File]]:
    """Return the labels of each image; those without exactly one image are skipped."""
    by_subject: dict[str, list[_File]] = {}
    for image in images:
        by_subject.setdefault(image.entities["sub"], []).append(image)
    joined: dict[Path, list[_File]] = {}
    for label in labels:
        owner, reason = _image_of(label, by_subject.get(label.entities["sub"], []))
        if owner is None:
            skipped.append(Skipped(str(label.shown), reason))
        else:
            joined.setdefault(owner.path, []).append(label)
    return joined


def _is_image(file: _File) -> bool:
    """Return whether a file is an image of the dataset itself: those of derivatives and sourcedata are copies."""
    folders = file.shown.parts[:-1]
    return folders[0].startswith("sub-") and folders[-1] in _DATA_TYPES and file.suffix not in _NO_IMAGES


def _image_of(label: _File, images: Sequence[_File]) -> tuple[_File | None, str]:
    """Return the image a label belongs to, or None and why there is not exactly one."""
    space = label.entities.get("space")
    own = {key: value for key, value in label.entities.items() if key not in _OF_DERIVATIVES}
    fitting = [
        image
        for image in images
        if own.items() <= image.entities.items()
        and own.get("ses") == image.entities.get("ses")
        and label.entities.get("mod", image.suffix) == image.suffix
    ]
    if not fitting:
        return None, "a label without an image"
    if space and space not in _OWN_SPACES:
        fitting = [image for image in fitting if image.suffix == space]
        if not fitting:
            return None, f"lies in the space {space!r}, not on the grid of its image"
    exact = [image for image in fitting if image.entities == own] or fitting
    if len(exact) > 1:
        names = ", ".join(image.path.name for image in exact)
        return None, f"may belong to {names}; choose one kind of image with --images"
    return exact[0], ""


def _preferred(labels: Sequence[_File]) -> list[_File]:
    return next((same for suffix in _LABELS if (same := [label for label in labels if label.suffix == suffix])), [])


def _organs_of(labels: Sequence[_File], source: Path, skipped: list[Skipped]) -> LabelMap | None:
    """Return the organs that the tables of all labels agree on, None if there are no tables."""
    tables = {table: _organs_in(table) for label in labels if (table := _table_of(label, source)) is not None}
    distinct = set(tables.values())
    if len(distinct) > 1:
        names = ", ".join(table.relative_to(source).as_posix() for table in list(tables)[:3])
        skipped.append(Skipped("labels.yaml", f"tables of organs differ: {names}"))
        return None
    return next(iter(distinct), None)


def _table_of(label: _File, source: Path) -> Path | None:
    """Return the table that names the values of a label: beside it or above, with no entity the label lacks."""
    folder = label.path.parent
    while folder.is_relative_to(source):
        tables = {path: _entities_in(path.stem) for path in sorted(folder.glob(f"*{label.suffix}.tsv"))}
        fitting = [path for path, entities in tables.items() if entities.items() <= label.entities.items()]
        if fitting:
            return max(fitting, key=lambda path: len(tables[path]))
        folder = folder.parent
    return None


def _entities_in(stem: str) -> dict[str, str]:
    pairs = (part.partition("-") for part in stem.split("_")[:-1])
    return {key: value for key, _, value in pairs}


def _organs_in(table: Path) -> LabelMap | None:
    rows = csv.DictReader(table.read_text(encoding="utf-8-sig", errors="replace").splitlines(), delimiter="\t")
    if not {"index", "name"} <= set(rows.fieldnames or ()):
        raise MedganError(f"{table}: must have the columns index and name, found {rows.fieldnames}.")
    return label_map(_pairs(rows, table), where=str(table))


def _pairs(rows: "csv.DictReader[str]", table: Path) -> Iterator[tuple[str, object]]:
    for row in rows:
        if not row["index"].strip().isdecimal():
            raise MedganError(f"{table}: index must be a whole number, found {row['index']!r}.")
        yield row["name"], int(row["index"])
