"""DICOM in any arrangement: an image per series, each with the RTSTRUCT or SEG that refers to it."""

import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medgan.errors import MedganError
from medgan.manifest.case_ids import ARCHIVE_SUFFIX
from medgan.manifest.importers.layout import Item, Layout, Skipped, walk
from medgan.manifest.importers.patterns import matches
from medgan.volume.dicom.files import DicomFile
from medgan.volume.dicom.rtstruct_file import ReferencedSeries, referenced_series
from medgan.volume.dicom.series import Scan, Series, choose_series, is_segmentation, scan
from medgan.volume.dicom.stack import stack_of

_MADE_UP_UID = "series-"  # how a scan calls files without a SeriesInstanceUID
NOT_DICOM = "not DICOM"  # how it calls other files, which are told last: a tree may hold many


@dataclass(frozen=True)
class _Place:
    """Where a scan looks: a folder, or a zip in it."""

    root: Path
    archive: Path | None = None

    @property
    def path(self) -> Path:
        return self.archive or self.root

    def shown(self, text: str) -> str:
        """Return a path or a message with paths from the root."""
        return re.sub(rf"(?<![\w./-]){re.escape(f'{self.root}{os.sep}')}", "", text)


def find(source: Path, *, labels: str) -> Layout:
    """Return an image per series whose slices make a grid, with the one RTSTRUCT or SEG that refers to it.

    Zips in the tree are looked into. A series that several labels refer to has none of them, as only the user knows
    which one counts. A label in a zip is skipped, as a manifest cannot name it.

    Args:
        source: a folder or a zip.
        labels: pattern of the labels to take, all if empty.
    """
    items: list[Item] = []
    skipped: list[Skipped] = []
    for place in _places_in(source):
        known = {item.series_uid: item for item in items if item.series_uid}
        try:
            with warnings.catch_warnings(), scan(place.path) as found:
                warnings.simplefilter("ignore")  # what is odd about a series is told when it is read
                for item in _items_of(found, place, labels, skipped):
                    if item.series_uid in known:
                        first = place.shown(str(known[item.series_uid].images[0]))
                        skipped.append(Skipped(_where(item, place), f"the same series as in {first}"))
                    else:
                        items.append(item)
        except MedganError as error:
            skipped.append(Skipped(place.shown(str(place.path)), place.shown(str(error))))
    return Layout(tuple(items), tuple(sorted(skipped, key=lambda each: each.reason == NOT_DICOM)))


def _places_in(source: Path) -> list[_Place]:
    if not source.is_dir():
        return [_Place(source.parent, source)]
    archives = [path for path in walk(source) if path.suffix.lower() == ARCHIVE_SUFFIX and path.is_file()]
    return [_Place(source), *(_Place(source, archive) for archive in archives)]


def _items_of(found: Scan, place: _Place, pattern: str, skipped: list[Skipped]) -> Iterable[Item]:
    """Yield the usable series of a scan, and note everything else in `skipped`."""
    damaged = {str(each.path): each.message for each in found.damaged}
    for name, reason in found.left_out.items():
        if place.archive or not name.lower().endswith(ARCHIVE_SUFFIX):
            skipped.append(Skipped(place.shown(name), place.shown(damaged.get(name, reason))))
    labels = _labels_of(found, place, pattern, skipped)
    for series in found.series:
        own = labels.get(series.key, [])
        left_out = own if len(own) > 1 else []
        reason = f"one of {len(own)} labels of a series, which has none until you choose one with --labels PATTERN"
        try:
            yield _item_of(series, found, place, None if left_out else next(iter(own), None))
        except MedganError as error:
            skipped.append(Skipped(f"series of {place.shown(series.files[0].name)}", place.shown(str(error))))
            left_out, reason = own, "its image series is skipped"
        skipped += [Skipped(place.shown(label.name), reason) for label in left_out]


def _item_of(series: Series, found: Scan, place: _Place, label: DicomFile | None) -> Item:
    """Return a series as an item.

    Raises:
        MedganError: if it is no grid, or cannot be told from its neighbours.
    """
    stack_of(choose_series(found, where=str(place.path), series=series.key), where=str(place.path))
    image, key = _path_of(series, found, place)
    patient = series.files[0].text("PatientID").strip()
    return Item(
        name=patient or image.stem,
        patient=patient or f"study {series.study_uid or image}",
        images=(image,),
        label=label.path if label else None,
        series=key,
        series_uid="" if series.uid.startswith(_MADE_UP_UID) else series.uid,
    )


def _path_of(series: Series, found: Scan, place: _Place) -> tuple[Path, str]:
    """Return the smallest folder with all stacks under a series' UID (or the zip), and the key if it needs one there.

    Raises:
        MedganError: if it needs a key but has no SeriesInstanceUID.
    """
    folder = Path(os.path.commonpath([file.path.parent for file in _files_of(series.uid, found)]))
    inside = {each.key for each in found.series for file in each.files if file.path.is_relative_to(folder)}
    if place.archive:
        inside = {each.key for each in found.series}
    if len(inside) > 1 and series.key.startswith(_MADE_UP_UID):
        raise MedganError("it has no SeriesInstanceUID to tell it from the other series in its folder.")
    return place.archive or folder, series.key if len(inside) > 1 else ""


def _files_of(uid: str, found: Scan) -> list[DicomFile]:
    return [file for series in found.series if series.uid == uid for file in series.files]


def _where(item: Item, place: _Place) -> str:
    return f"series {item.series_uid} in {place.shown(str(item.images[0]))}"


def _labels_of(found: Scan, place: _Place, pattern: str, skipped: list[Skipped]) -> dict[str, list[DicomFile]]:
    """Return the labels of each series by its key."""
    joined: dict[str, list[DicomFile]] = {}
    images = {series.key: frozenset(file.uid("SOPInstanceUID") for file in series.files) for series in found.series}
    for file in found.derived:
        shown = place.shown(file.name)
        if not matches(pattern, PurePosixPath(Path(shown).as_posix())):
            skipped.append(Skipped(shown, f"does not fit the pattern {pattern!r}"))
            continue
        if place.archive:
            skipped.append(Skipped(shown, "a label in a zip, which a manifest cannot name; unpack the zip"))
            continue
        try:
            joined.setdefault(_series_of(file, found, images), []).append(file)
        except MedganError as error:
            skipped.append(Skipped(shown, place.shown(str(error))))
    return joined


def _series_of(file: DicomFile, found: Scan, images: dict[str, frozenset[str]]) -> str:
    """Return the key of the series that a label refers to, by its images, its UID, or at last its frame of reference.

    Raises:
        MedganError: if it is not there, not whole, or cannot be told.
    """
    references = _references_of(file)
    if not references:
        return _series_in_frame(file, found)
    matching = [
        (len(wanted.image_uids & images[series.key]), series, wanted)
        for wanted in references
        for series in found.series
        if wanted.uid in ("", series.uid) and (not wanted.image_uids or wanted.image_uids & images[series.key])
    ]
    if not matching:
        raise MedganError("its image series is not here.")
    num_found, series, wanted = max(matching, key=lambda match: match[0])
    if num_found < len(wanted.image_uids):
        raise MedganError(
            f"only {num_found} of the {len(wanted.image_uids)} images it refers to are here; fetch the series again."
        )
    return series.key


def _references_of(file: DicomFile) -> list[ReferencedSeries]:
    if not is_segmentation(file):
        return referenced_series(file)
    frame_uid = file.uid("FrameOfReferenceUID")
    return [
        ReferencedSeries(uid, frame_uid, _instances_of(item))
        for item in file.items("ReferencedSeriesSequence")
        if (uid := item.uid("SeriesInstanceUID"))
    ]


def _instances_of(item: DicomFile) -> frozenset[str]:
    uids = (instance.uid("ReferencedSOPInstanceUID") for instance in item.items("ReferencedInstanceSequence"))
    return frozenset(uid for uid in uids if uid)


def _series_in_frame(file: DicomFile, found: Scan) -> str:
    """Return the only series in the frame of reference of a label that names no series."""
    items = [file, *file.items("ReferencedFrameOfReferenceSequence")]
    frames = {uid for item in items if (uid := item.uid("FrameOfReferenceUID"))}
    inside = [series for series in found.series if series.frame_of_reference_uid in frames]
    if len(inside) != 1:
        raise MedganError(
            f"it names no image series, and {len(inside)} series are in its frame of reference; there must be one."
        )
    return inside[0].key
