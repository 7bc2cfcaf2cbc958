"""A folder of the Medical Segmentation Decathlon: dataset.json lists its images, labels and organs."""

from pathlib import Path

from medgan.labels import LabelMap
from medgan.manifest.case import Split
from medgan.manifest.importers.layout import Item, Layout, Skipped, label_map, read_object
from medgan.manifest.tables import Row, read_rows

DATASET_FILE = "dataset.json"
_SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test"}


def find(source: Path) -> Layout:
    """Return what `dataset.json` lists: training and validation with labels, test with or without.

    Raises:
        MedganError: if `dataset.json` is no datalist.
    """
    path = source / DATASET_FILE
    labels = label_map_of(read_object(path), where=str(path))
    items, skipped = [], []
    for row in read_rows(path):
        split = _SPLITS[row.split]
        if not row.images or not all(row.images):
            skipped.append(Skipped(row.place, "it names no image"))
        elif split != "test" and not row.label:
            skipped.append(Skipped(row.images[0], f"a {split} case without a label"))
        else:
            items.append(_item_of(row, source, split))
    return Layout(tuple(items), tuple(skipped), labels)


def label_map_of(document: dict[str, object], *, where: str) -> LabelMap | None:
    """Return the organs of `{"1": "liver"}` (MSD, nnU-Net v1) or `{"liver": 1}` (nnU-Net), or None if none are named.

    Regions of nnU-Net are groups, and its ignore label is an ignored value.

    Raises:
        MedganError: if they are no labels.
    """
    found = document.get("labels")
    if not isinstance(found, dict):
        return None
    if all(key.isdecimal() for key in found):
        return label_map(((str(name), int(value)) for value, name in found.items()), where=where)
    return label_map(found.items(), where=where)


def _item_of(row: Row, source: Path, split: Split) -> Item:
    return Item(
        row.case_id,
        row.patient or row.case_id,
        tuple(source / image for image in row.images),
        source / row.label if row.label else None,
        split,
        series=row.series,
    )
