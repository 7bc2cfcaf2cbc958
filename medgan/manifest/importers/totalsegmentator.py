"""A TotalSegmentator folder: sNNNN/ct.nii.gz, sNNNN/segmentations/<organ>.nii.gz, and meta.csv with the splits."""

import csv
from pathlib import Path
from typing import get_args

from medgan.errors import MedganError
from medgan.manifest.case import Split
from medgan.manifest.importers.layout import Item, Layout, Skipped, label_map

_IMAGES = ("ct.nii.gz", "mri.nii.gz")
_MASKS = "segmentations"
_SUFFIX = ".nii.gz"
_META_FILE = "meta.csv"


def is_totalsegmentator(source: Path) -> bool:
    """Return whether a folder, or one of its sub-folders, holds an image beside a folder of segmentations."""
    return any((folder / _MASKS).is_dir() for folder in _subjects(source))


def find(source: Path) -> Layout:
    """Return a case per subject, its label the folder of masks, with every organ that has a mask anywhere.

    Raises:
        MedganError: if `meta.csv` lacks its columns.
    """
    splits = _splits_of(source / _META_FILE)
    items: list[Item] = []
    skipped: list[Skipped] = []
    organs: set[str] = set()
    for subject in _subjects(source):
        masks = _masks_of(subject / _MASKS)
        split = splits.get(subject.name) if splits else None
        if splits and split is None:
            skipped.append(Skipped(subject.name, f"{_META_FILE} gives it no split of {', '.join(get_args(Split))}"))
        elif split in ("train", "val") and not masks:
            skipped.append(Skipped(subject.name, f"a {split} case without masks in {_MASKS}"))
        else:
            image = next(subject / name for name in _IMAGES if (subject / name).is_file())
            items.append(Item(subject.name, subject.name, (image,), subject / _MASKS if masks else None, split))
            organs |= masks
    without = [folder for folder in _folders(source) if (folder / _MASKS).is_dir() and folder not in _subjects(source)]
    skipped += [Skipped(folder.name, f"holds {_MASKS}, but no {' or '.join(_IMAGES)}") for folder in without]
    numbered = ((organ, value) for value, organ in enumerate(sorted(organs), start=1))
    return Layout(tuple(items), tuple(skipped), label_map(numbered, where=str(source)))


def _subjects(source: Path) -> list[Path]:
    return [folder for folder in (source, *_folders(source)) if any((folder / name).is_file() for name in _IMAGES)]


def _folders(source: Path) -> list[Path]:
    return sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))


def _masks_of(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    names = {path.name for path in folder.iterdir() if path.name.endswith(_SUFFIX) and not path.name.startswith(".")}
    return {name.removesuffix(_SUFFIX) for name in names}


def _splits_of(path: Path) -> dict[str, Split]:
    """Return the split of each subject, empty if there is no `meta.csv`."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ",")
    if not {"image_id", "split"} <= set(rows.fieldnames or ()):
        raise MedganError(f"{path}: must have the columns image_id and split, found {rows.fieldnames}.")
    known: dict[str, Split] = {split: split for split in get_args(Split)}
    return {row["image_id"]: known[row["split"]] for row in rows if row["split"] in known}
