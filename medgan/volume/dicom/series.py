"""The image series in a folder, a zip or beside a file, by their headers alone, and the choice of one.

A series is shown by its UID, modality, number of slices, size and spacing; its description, which may say anything,
can be asked for but is never shown.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.uid import RTStructureSetStorage

from medgan.errors import MedganError
from medgan.volume.dicom.archive import extracted, is_archive
from medgan.volume.dicom.files import DicomFile, printable
from medgan.volume.dicom.slices import Slice, is_localizer, slices_of
from medgan.volume.dicom.split import Part, split
from medgan.volume.dicom.tree import Damaged, Tree, read_tree

_MODALITIES = {"CT", "MR", "PT", "NM", "XA", "RF", "CR", "DX", "MG", "US", "OT", "OPT", "SC", "RTIMAGE", "IVUS", "BI"}
MADE_UP_UID = "series-"
"""How the `Series.uid` of images without a (valid) SeriesInstanceUID begins."""

_MAX_LISTED = 12
_LOCALIZER = "localizer image (scout)"
_NOT_DICOM = "file that is named like its slices, but is not DICOM"
_STRAY = "it has no SeriesInstanceUID, and other images in its folder do"
_FEWEST_OF_A_KIND = 2  # under a SeriesInstanceUID that is none: a single one is a slice with damage
_NOT_PLACED = "image without a position in the patient (ImagePositionPatient)"


@dataclass(frozen=True, eq=False)
class Series:
    """The images of one stack.

    Attributes:
        key: the SeriesInstanceUID, or "UID#2" where one UID holds several stacks. What to choose by.
        uid: the SeriesInstanceUID; made up (`MADE_UP_UID`) where the files have none.
        study_uid: the StudyInstanceUID.
        frame_of_reference_uid: "" if there is none.
        modality: as in DICOM ("CT"), "" if it is none of the known ones.
        files: its files; stacks under one UID may share a multi-frame file.
        description: the SeriesDescription, to choose by. Never show it: people write names there.
        slices: its slices, in no order; empty if a header has no geometry (`stack_of` says which).
        distinction: what tells it apart from the other stacks under its UID: "EchoNumbers 2".
        left_out: why files or frames under its UID are no part of it: "localizer (scout)".
    """

    key: str
    uid: str
    study_uid: str
    frame_of_reference_uid: str
    modality: str
    files: tuple[DicomFile, ...]
    description: str
    slices: tuple[Slice, ...] = ()
    distinction: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scan:
    """What lies in a folder, a zip, or beside a file.

    Attributes:
        series: the image series, in the order of their file names.
        derived: DICOM SEG and RTSTRUCT objects.
        left_out: the name of every other file, with the reason.
        damaged: files that may belong to any series in their folder.
        folder: the folder that was given.
        file: the file that was given, if one was.
    """

    series: tuple[Series, ...]
    derived: tuple[DicomFile, ...]
    left_out: dict[str, str]
    damaged: tuple[Damaged, ...] = ()
    folder: Path | None = None
    file: Path | None = None


@contextmanager
def scan(path: str | Path) -> Iterator[Scan]:
    """Yield what lies in a folder with its sub-folders, in a zip, or in the folder of a file (without sub-folders).

    Only headers are read. A zip is taken apart in a temporary folder for as long as the context is open.

    Raises:
        MedganError: if a zip is unsafe or damaged. Damaged DICOM files are listed, not raised.
    """
    path = Path(path)
    if not path.exists():
        raise MedganError(f"{path} does not exist; check the path.")
    if is_archive(path):
        with extracted(path) as folder:
            yield _scanned(read_tree(folder, recursive=True, shown_root=str(path)), folder=folder)
    elif path.is_dir():
        yield _scanned(read_tree(path, recursive=True), folder=path)
    else:
        yield _scanned(read_tree(path.parent, recursive=False), folder=path.parent, file=path)


def choose_series(found: Scan, *, where: str, series: str | None = None) -> Series:
    """Return the series asked for, or the only one there is.

    Without `series`, the one whose slices lie directly in the folder is meant when all others lie in sub-folders, and
    the one that a file belongs to when a file was given.

    Args:
        found: what was scanned.
        where: names the folder, file or zip in messages.
        series: key, SeriesInstanceUID or description (without regard to case).

    Raises:
        MedganError: if none fits, or several, which are listed; or if a damaged file may be one of its slices.
    """
    _check_any(found, where)
    fitting = _asked_for(found.series, series, where) if series else _meant(found)
    if len(fitting) > 1:
        raise _ambiguous(fitting, where)
    chosen = fitting[0]
    folders = {file.path.parent for file in chosen.files}
    for damaged in found.damaged:
        if damaged.path.parent in folders:
            raise MedganError(damaged.message)
    return chosen


def describe(series: Series) -> str:
    """Return key, modality, number of slices, size and spacing of a series, for lists to choose from."""
    parts = [series.modality or "unknown modality"]
    if not series.slices:
        parts += [f"{len(series.files)} files", "no geometry"]
    else:
        first = series.slices[0]
        spacing = [*first.spacing_mm, _step_of(series.slices)]
        parts += [
            f"{len(series.slices)} slices",
            "x".join(str(n) for n in first.size),
            "x".join(f"{mm:.4g}" for mm in spacing if mm) + " mm",
        ]
    return f"{series.key} ({', '.join([*parts, *filter(None, [series.distinction])])})"


def _scanned(tree: Tree, *, folder: Path, file: Path | None = None) -> Scan:
    left_out = dict(tree.left_out)
    images: dict[str, list[DicomFile]] = defaultdict(list)
    no_scans = list(tree.no_scans)
    damaged, strays = list(tree.damaged), _strays(tree)
    for image in tree.images:
        if is_localizer(image):
            left_out[image.name] = _LOCALIZER
            no_scans.append((image, _LOCALIZER))
        elif image in strays:
            left_out[image.name] = _STRAY
            damaged.append(Damaged(image.path, f"{image.name} is damaged: {_STRAY}; copy it again, or move it away."))
        else:
            images[_group_of(image)].append(image)
    placed = {group for group, files in images.items() if any(_may_be_placed(file) for file in files)} or set(images)
    series: list[Series] = []
    for group, files in images.items():
        if group in placed:
            beside = [reason for file, reason in no_scans if _is_beside(file, group, files, strays)]
            beside += [_NOT_DICOM for path in tree.not_dicom if _looks_alike(path, files)]
            series += _series_of(_uid_of(group, files), files, beside)
        else:
            left_out.update(dict.fromkeys((image.name for image in files), _NOT_PLACED))
    return Scan(tuple(series), tuple(tree.derived), left_out, tuple(damaged), folder, file)


def _strays(tree: Tree) -> set[DicomFile]:
    """Return the images that have no valid SeriesInstanceUID, alone in that among images in their folder that do."""
    files = [*tree.images, *(file for file, _ in tree.no_scans)]
    folders = {file.path.parent for file in files if file.uid("SeriesInstanceUID")}
    num_of = Counter(text for file in files if (text := file.text("SeriesInstanceUID")))
    return {
        file
        for file in files
        if not file.uid("SeriesInstanceUID")
        and file.path.parent in folders
        and num_of[file.text("SeriesInstanceUID")] < _FEWEST_OF_A_KIND
    }


def _is_beside(no_scan: DicomFile, group: str, files: Sequence[DicomFile], strays: set[DicomFile]) -> bool:
    """Return whether an image that is no scan may have been meant as one of a series."""
    if no_scan in strays:
        return any(no_scan.path.parent == file.path.parent for file in files)
    return _group_of(no_scan) == group


def _looks_alike(path: Path, files: Sequence[DicomFile]) -> bool:
    """Return whether a file is called like the slices beside it but for a number."""
    return any(path.parent == file.path.parent and _pattern_of(path) == _pattern_of(file.path) for file in files)


def _pattern_of(path: Path) -> str:
    return re.sub(r"\d+", "0", path.name)


def _group_of(image: DicomFile) -> str:
    """Return what the images of one series share: the SeriesInstanceUID, where there is none the folder."""
    return image.uid("SeriesInstanceUID") or f"?{image.text('SeriesInstanceUID') or image.path.parent}"


def _uid_of(group: str, files: Sequence[DicomFile]) -> str:
    """Return the SeriesInstanceUID, or where there is none a made-up one that stays the same wherever the files lie."""
    if not group.startswith("?"):
        return group
    facts = [[file.text(keyword) for keyword in ("FrameOfReferenceUID", "ImagePositionPatient")] for file in files]
    return f"{MADE_UP_UID}{hashlib.sha256(repr(sorted(facts)).encode()).hexdigest()[:12]}"


def _may_be_placed(image: DicomFile) -> bool:
    return "ImagePositionPatient" in image.header or "PerFrameFunctionalGroupsSequence" in image.header


def _series_of(uid: str, files: Sequence[DicomFile], no_scans: Sequence[str]) -> list[Series]:
    """Return the stacks under one UID. Localizer frames are left out."""
    try:
        slices = [each for file in files for each in slices_of(file)]
        kept = [each for each in slices if not each.is_localizer]
        of_one = all(len({file.text(keyword) for file in files}) == 1 for keyword in ("PatientID", "StudyInstanceUID"))
        parts = split(kept) if of_one and kept else [Part(tuple(kept))]
    except MedganError:  # `stack_of` says what is wrong, once this series is chosen
        return [_series(uid, uid, Part(()), files, no_scans)]
    left_out = [*no_scans, *[_LOCALIZER] * (len(slices) - len(kept))]
    return [
        _series(uid, uid if len(parts) == 1 else f"{uid}#{number}", part, _files_of(part), left_out)
        for number, part in enumerate(parts, start=1)
    ]


def _files_of(part: Part) -> list[DicomFile]:
    return list(dict.fromkeys(each.file for each in part.slices))


def _series(uid: str, key: str, part: Part, files: Sequence[DicomFile], left_out: Sequence[str]) -> Series:
    first, modality = files[0], files[0].text("Modality")
    return Series(
        key=key,
        uid=uid,
        study_uid=first.uid("StudyInstanceUID"),
        frame_of_reference_uid=first.uid("FrameOfReferenceUID"),
        modality=modality if modality in _MODALITIES else "",
        files=tuple(files),
        description=first.text("SeriesDescription"),
        slices=part.slices,
        distinction=part.distinction,
        left_out=tuple(left_out),
    )


def _check_any(found: Scan, where: str) -> None:
    """Raise what explains best why there is nothing to choose from."""
    for damaged in found.damaged:
        if damaged.path == found.file or not found.series:
            raise MedganError(damaged.message)
    if found.file is not None and not _meant(found):
        kind = "DICOM SEG or RTSTRUCT" if any(file.path == found.file for file in found.derived) else ""
        kind = kind or found.left_out.get(printable(str(found.file)), "no DICOM file")
        raise MedganError(f"{where} must be a slice of an image series, but is: {kind}; check what it is.")
    if not found.series:
        reasons = Counter(found.left_out.values())
        reasons.update("DICOM SEG" if is_segmentation(file) else "RTSTRUCT" for file in found.derived)
        listed = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common(_MAX_LISTED))
        content = f"found {listed}" if listed else "empty"
        raise MedganError(
            f"{where}: there is no DICOM image series here ({content}; links to folders are not followed); "
            "give the folder that holds the slices."
        )


def is_segmentation(file: DicomFile) -> bool:
    """Return whether a derived object is a DICOM SEG, rather than an RTSTRUCT."""
    return file.sop_class != RTStructureSetStorage


def _asked_for(series: Sequence[Series], wanted: str, where: str) -> list[Series]:
    by_key = [each for each in series if each.key == wanted]
    by_uid = [each for each in series if each.uid == wanted]
    by_description = [each for each in series if each.description.strip().casefold() == wanted.strip().casefold()]
    fitting = by_key or by_uid or by_description
    if not fitting:
        raise MedganError(
            f"{where} has no series with the key, UID or description asked for; it holds {_listed(series)}."
        )
    return fitting


def _meant(found: Scan) -> list[Series]:
    if found.file is not None:
        uids = {each.uid for each in found.series if any(file.path == found.file for file in each.files)}
    else:
        uids = {each.uid for each in found.series if any(file.path.parent == found.folder for file in each.files)}
        if len(uids) != 1:
            return list(found.series)
    return [each for each in found.series if each.uid in uids]


def _ambiguous(fitting: Sequence[Series], where: str) -> MedganError:
    way_out = "name one by its key (series=KEY), or give a folder that holds only that one"
    if len({each.uid for each in fitting}) > 1:
        return MedganError(f"{where} must hold one series, but holds {len(fitting)}: {_listed(fitting)}; {way_out}.")
    return MedganError(
        f"{where} must hold one series with one image at each position, but series {fitting[0].uid} holds "
        f"{len(fitting)} stacks (4D, or several orientations or frames of reference): {_listed(fitting)}; {way_out}."
    )


def _listed(series: Sequence[Series]) -> str:
    more = f" and {len(series) - _MAX_LISTED} more" if len(series) > _MAX_LISTED else ""
    return ", ".join(describe(each) for each in series[:_MAX_LISTED]) + more


def _step_of(slices: Sequence[Slice]) -> float:
    """Return the commonest distance between slices in mm, 0 for one slice."""
    steps = np.diff(np.sort([each.position @ slices[0].normal for each in slices]))
    return float(np.median(steps)) if steps.size else 0.0
