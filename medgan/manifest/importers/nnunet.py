"""An nnU-Net raw folder: imagesTr/CASE_0000.nii.gz per channel, labelsTr/CASE.nii.gz, dataset.json."""

import re
from pathlib import Path

from medgan.errors import MedganError
from medgan.manifest.case import Split
from medgan.manifest.importers.layout import Item, Layout, Skipped, read_object
from medgan.manifest.importers.msd import DATASET_FILE, label_map_of
from medgan.manifest.tables import read_json

_FOLDS_FILE = "splits_final.json"
_DEFAULT_ENDING = ".nii.gz"  # of nnU-Net v1, which names none


def is_nnunet(source: Path) -> bool:
    """Return whether a folder with a `dataset.json` names channels as nnU-Net does, by `_0000` at the end of names."""
    if not (source / DATASET_FILE).is_file():
        return False
    images = source / "imagesTr"
    return images.is_dir() and any(re.search(r"_0000\.", path.name) for path in images.iterdir())


def find(source: Path) -> Layout:
    """Return training cases (the first fold's validation cases as val) and test cases, labelled where labelsTs is.

    Raises:
        MedganError: if `dataset.json` or `splits_final.json` is malformed.
    """
    path = source / DATASET_FILE
    document = read_object(path)
    channels = document.get("channel_names", document.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise MedganError(f"{path}: must name its channels in 'channel_names', found {channels!r:.80}.")
    ending = str(document.get("file_ending", _DEFAULT_ENDING))
    labels = label_map_of(document, where=str(path))
    validation = _validation_of(source)
    items: list[Item] = []
    skipped: list[Skipped] = []
    for part in ("Tr", "Ts"):
        cases = _channels_of(source / f"images{part}", ending, skipped)
        for name, found in cases.items():
            split: Split = "test" if part == "Ts" else "val" if name in validation else "train"
            label = source / f"labels{part}" / f"{name}{ending}"
            item = _item_of(name, found, label, split, num_channels=len(channels))
            if isinstance(item, Item):
                items.append(item)
            else:
                skipped.append(Skipped(f"images{part}/{name}", item))
        skipped += _orphans(source / f"labels{part}", ending, set(cases))
    return Layout(tuple(items), tuple(skipped), labels)


def _item_of(name: str, found: dict[int, Path], label: Path, split: Split, *, num_channels: int) -> Item | str:
    """Return a case, or why it is none."""
    if sorted(found) != list(range(num_channels)):
        return f"must have {num_channels} channels from _0000 on, found {sorted(found)}"
    if split != "test" and not label.is_file():
        return f"a {split} case without a label in {label.parent.name}"
    images = tuple(found[channel] for channel in sorted(found))
    return Item(name, name, images, label if label.is_file() else None, split)


def _channels_of(folder: Path, ending: str, skipped: list[Skipped]) -> dict[str, dict[int, Path]]:
    """Return the files of each case by channel number."""
    cases: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = re.fullmatch(rf"(.+)_(\d{{4}}){re.escape(ending)}", path.name)
        if match:
            cases.setdefault(match[1], {})[int(match[2])] = path
        elif not path.name.startswith("."):
            skipped.append(Skipped(f"{folder.name}/{path.name}", f"its name must end in _0000{ending}"))
    return cases


def _orphans(folder: Path, ending: str, cases: set[str]) -> list[Skipped]:
    names = [path.name for path in sorted(folder.iterdir()) if path.name.endswith(ending)] if folder.is_dir() else []
    return [
        Skipped(f"{folder.name}/{name}", "a label without an image")
        for name in names
        if name.removesuffix(ending) not in cases and not name.startswith(".")
    ]


def _validation_of(source: Path) -> set[str]:
    """Return the validation cases of the first fold, if the folder has splits of its own."""
    path = source / _FOLDS_FILE
    if not path.is_file():
        return set()
    folds = read_json(path)
    first = folds[0] if isinstance(folds, list) and folds else None
    if not isinstance(first, dict) or not isinstance(first.get("val"), list):
        raise MedganError(f"{path}: must be a list of folds with 'train' and 'val', found {first!r:.80}.")
    return {str(name) for name in first["val"]}
