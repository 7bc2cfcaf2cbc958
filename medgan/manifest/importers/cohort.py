"""From a source of data to cases with made-up ids: recognise the layout, find its images, number and split them."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.manifest.case_ids import ARCHIVE_SUFFIX, case_id_problem, comparable
from medgan.manifest.importers import bids, dicom, folder, msd, nnunet, totalsegmentator
from medgan.manifest.importers.layout import Item, Layout, Skipped
from medgan.manifest.splits import assign_splits, assign_validation

KINDS = ("dicom", "msd", "nnunet", "bids", "totalsegmentator", "folder")
_MAX_ID_LENGTH = 100
_MAX_REASONS = 5


@dataclass(frozen=True)
class Key:
    """Who a case is: a line of the key table, which stays where the data are.

    Attributes:
        case_id: the made-up id.
        name: what the layout calls the case.
        patient: the patient's name in the manifest, made up as well.
        patient_in_source: what the layout calls the patient (PatientID, BIDS subject).
        images, label: paths from the source.
        series_uid: the SeriesInstanceUID of a DICOM image.
    """

    case_id: str
    name: str
    patient: str
    patient_in_source: str
    images: tuple[str, ...]
    label: str
    series_uid: str


@dataclass(frozen=True)
class Imported:
    """A cohort found in a source.

    Attributes:
        kind: which layout it was taken for.
        root: the folder all its paths lie in.
        cases: each with a made-up patient, and a split where it can have one.
        skipped: what is in no case, and why.
        labels: the organs, where the layout names them.
        keys: who each case is, in the order of the cases.
    """

    kind: str
    root: Path
    cases: tuple[Case, ...]
    skipped: tuple[Skipped, ...]
    labels: LabelMap | None
    keys: tuple[Key, ...]


def import_cohort(
    source: str | Path,
    *,
    kind: str | None = None,
    images: Sequence[str] = (),
    labels: str = "",
    keep_ids: bool = False,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Imported:
    """Return the cases in a folder or zip, ready for a manifest.

    Case ids and patients are made up and dealt out in an order that follows from a hash of the path and the seed, so
    neither tells anything of a patient. Where the layout has splits they are kept, with a validation split taken from
    train if it has none; where it has not, whole patients are dealt out, and a case without a label is test.

    Args:
        source: a folder, or a zip of DICOM.
        kind: one of `KINDS`; None recognises it ("folder" if `images` are given).
        images: patterns of the images: for "folder" one per channel, for "bids" those to take.
        labels: pattern of the labels: for "folder" joined to the images by what the wildcards match, for "bids" and
            "dicom" those to take.
        keep_ids: take the layout's own names (DICOM: PatientID) as case ids.
        val_fraction: fraction of the patients left by test to set aside for validation.
        test_fraction: fraction of the patients with labels to set aside for testing.
        seed: seed of order and split.

    Raises:
        MedganError: if nothing usable is found, with what was skipped; or if the source contradicts itself.

    Example:
        >>> imported = import_cohort("hospital_export")  # doctest: +SKIP
        >>> imported.cases[0].case_id, imported.cases[0].split  # doctest: +SKIP
        ('case_0001', 'train')
    """
    for name, fraction in (("val", val_fraction), ("test", test_fraction)):
        if not 0.0 <= fraction < 1.0:
            raise MedganError(f"the {name} fraction must be at least 0 and below 1, found {fraction:g}.")
    source = Path(source)
    if not source.exists():
        raise MedganError(f"{source}: no such file or folder.")
    if source.name == msd.DATASET_FILE:
        source = source.parent
    try:
        chosen = kind or ("folder" if images else _recognise(source))
        layout = _find(source, chosen, images=images, labels=labels)
        inside = [] if layout.items or kind else _datasets_in(source)
    except OSError as error:
        raise MedganError(f"{source}: could not be read: {error.strerror or error}.") from error
    root = source if source.is_dir() else source.parent
    items, skipped = _sifted(layout, root)
    if inside:
        raise MedganError(f"{source}: is no dataset itself, but holds {'; '.join(inside)}. Name the one you want.")
    if not items:
        raise _nothing_in(source, chosen, skipped)
    items.sort(key=lambda item: _order(item, root, seed))
    cases = _cases_of(items, keep_ids=keep_ids)
    if not any(case.split for case in cases):
        cases = assign_splits(cases, val_fraction=val_fraction, test_fraction=test_fraction, seed=seed)
    elif not any(case.split == "val" for case in cases):
        cases = assign_validation(cases, fraction=val_fraction, seed=seed)
    keyed = [(case, _key_of(case, item, root)) for case, item in zip(cases, items, strict=True)]
    keyed.sort(key=lambda pair: pair[0].case_id)
    cases, keys = [case for case, _ in keyed], [key for _, key in keyed]
    return Imported(chosen, root, tuple(cases), tuple(skipped), layout.labels, tuple(keys))


def _recognise(source: Path) -> str:
    if not source.is_dir():
        return "dicom"
    if nnunet.is_nnunet(source):
        return "nnunet"
    if (source / msd.DATASET_FILE).is_file():
        return "msd"
    if bids.is_bids(source):
        return "bids"
    return "totalsegmentator" if totalsegmentator.is_totalsegmentator(source) else "dicom"


def _datasets_in(source: Path) -> list[str]:
    """Return the sub-folders that are laid out as a dataset, each with its kind, as text that a console can show."""
    folders = [path for path in sorted(source.iterdir()) if path.is_dir()] if source.is_dir() else []
    found = [(path, kind) for path in folders if (kind := _recognise(path)) != "dicom"]
    more = [f"{len(found) - _MAX_REASONS} more"] if len(found) > _MAX_REASONS else []
    return [f"{_printable(str(path))} (kind {kind!r})" for path, kind in found[:_MAX_REASONS]] + more


def _find(source: Path, kind: str, *, images: Sequence[str], labels: str) -> Layout:
    if kind not in KINDS:
        raise MedganError(f"kind must be one of {', '.join(KINDS)}, found {kind!r}.")
    if not source.is_dir() and (kind != "dicom" or source.suffix.lower() != ARCHIVE_SUFFIX):
        raise MedganError(f"{source}: must be a folder, or a .zip of DICOM.")
    if images and kind not in ("folder", "bids"):
        raise MedganError(
            f"kind {kind!r} knows its images without a pattern; leave --images out, or use kind 'folder'."
        )
    if labels and kind not in ("folder", "bids", "dicom"):
        raise MedganError(
            f"kind {kind!r} knows its labels without a pattern; leave --labels out, or use kind 'folder'."
        )
    if kind == "folder":
        return folder.find(source, images=images, labels=labels)
    if kind == "bids":
        return bids.find(source, images=images, labels=labels)
    if kind == "dicom":
        return dicom.find(source, labels=labels)
    finders = {"msd": msd.find, "nnunet": nnunet.find, "totalsegmentator": totalsegmentator.find}
    return finders[kind](source)


def _sifted(layout: Layout, root: Path) -> tuple[list[Item], list[Skipped]]:
    """Return the items that can stand in a manifest, and all that is skipped, in text that a console can show."""
    problems = {item: _problem_of(item, root) for item in layout.items}
    unfit = (Skipped(_shown(item.images[0], root), problem) for item, problem in problems.items() if problem)
    skipped = [Skipped(_printable(each.source), _printable(each.reason)) for each in (*layout.skipped, *unfit)]
    return [item for item, problem in problems.items() if not problem], skipped


def _problem_of(item: Item, root: Path) -> str:
    """Return why an item cannot stand in a manifest, "" if it can."""
    for path in (*item.images, *([item.label] if item.label else [])):
        shown = _shown(path, root)
        if not shown.isprintable() or shown != shown.rstrip():
            return "its name has characters that a table cannot hold; rename it"
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            return f"{shown} leads out of the source; move the file into it"
        if not path.exists():
            return f"{shown} does not exist"
        if path.is_file() and not path.stat().st_size:
            return f"{shown} is empty (0 bytes)"
    return ""


def _order(item: Item, root: Path, seed: int) -> str:
    text = "\0".join([str(seed), *(_shown(path, root) for path in item.images), item.series, item.series_uid])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _nothing_in(source: Path, kind: str, skipped: Sequence[Skipped]) -> MedganError:
    skipped = [each for each in skipped if each.reason != dicom.NOT_DICOM]
    if not skipped:
        return MedganError(
            f"{source}: holds no image (looked at as kind {kind!r}). Name another with --kind "
            f'({", ".join(KINDS)}), or give patterns, as in --images "*/ct.nii.gz" --labels "*/lung.nii.gz".'
        )
    listed = "".join(f"\n  - {each.source}: {each.reason}" for each in skipped[:_MAX_REASONS])
    more = f"\n  and {len(skipped) - _MAX_REASONS} more" if len(skipped) > _MAX_REASONS else ""
    return MedganError(f"{source}: holds no usable image (looked at as kind {kind!r}); skipped:{listed}{more}")


def _cases_of(items: Sequence[Item], *, keep_ids: bool) -> list[Case]:
    """Return the cases in the order of the items, with numbered patients, and numbered ids unless names are kept."""
    patients = list(dict.fromkeys(item.patient for item in items))
    names = {patient: f"patient_{n:0{_width(patients)}d}" for n, patient in enumerate(patients, start=1)}
    made_up = [f"case_{n:0{_width(items)}d}" for n in range(1, len(items) + 1)]
    ids = _kept_ids(items) if keep_ids else made_up
    return [
        Case(case_id, item.images, item.label, item.split, names[item.patient], series=item.series)
        for case_id, item in zip(ids, items, strict=True)
    ]


def _width(numbered: Sequence[object]) -> int:
    return max(4, len(str(len(numbered))))


def _kept_ids(items: Sequence[Item]) -> list[str]:
    """Return the layout's names as case ids: made safe, and numbered where they repeat."""
    taken: set[str] = set()
    ids = []
    for item in items:
        safe = re.sub(r"[^\w .()+,-]", "_", item.name)[:_MAX_ID_LENGTH].strip(" .,(-+")
        base = safe if safe and not case_id_problem(safe) else f"_{safe}".rstrip("(")
        options = (base if n == 1 else f"{base}_{n}" for n in range(1, len(items) + 1))
        case_id = next(option for option in options if comparable(option) not in taken)
        taken.add(comparable(case_id))
        ids.append(case_id)
    return ids


def _key_of(case: Case, item: Item, root: Path) -> Key:
    images = tuple(_shown(path, root) for path in item.images)
    label = _shown(item.label, root) if item.label else ""
    return Key(case.case_id, item.name, case.patient, item.patient, images, label, item.series_uid)


def _shown(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
