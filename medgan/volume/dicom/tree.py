"""Every DICOM file below a folder, sorted into images, derived objects and what is left out with the reason."""

import filecmp
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import (
    UID,
    MediaStorageDirectoryStorage,
    ParametricMapStorage,
    RTDoseStorage,
    RTStructureSetStorage,
    SegmentationStorage,
    SurfaceSegmentationStorage,
)

from medgan.errors import MedganError
from medgan.volume.dicom.enhanced import is_multi_frame
from medgan.volume.dicom.files import DicomFile, printable, read_header

_DERIVED = {SegmentationStorage, UID("1.2.840.10008.5.1.4.1.1.66.7"), RTStructureSetStorage}
_NO_SCAN = {
    MediaStorageDirectoryStorage: "DICOMDIR (not followed)",
    SurfaceSegmentationStorage: "surface segmentation",
    RTDoseStorage: "RT dose",
    ParametricMapStorage: "parametric map",
}
_SECONDARY_CAPTURES = {UID(f"1.2.840.10008.5.1.4.1.1.7{end}") for end in ("", ".1", ".2", ".3", ".4")}
_OF_EVERY_IMAGE = (  # what is asked of all of them to sort them
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "Modality",
    "SeriesDescription",
    "ImageType",
    "FrameType",
    "ImagePositionPatient",
)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = {"RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "CMYK", "HSV"}


@dataclass(frozen=True)
class Damaged:
    """A file that calls itself DICOM and cannot be read: it may be a slice of any series in its folder."""

    path: Path
    message: str


@dataclass(eq=False)
class Tree:
    """The files of a folder.

    Attributes:
        images: files with grey pixels; copies are counted once.
        derived: DICOM SEG and RTSTRUCT objects.
        left_out: the name of every other file, with the reason.
        not_dicom: those among them that are not DICOM.
        no_scans: those among them that are images nevertheless (screenshots), with the reason.
        damaged: those among them that cannot be read.
    """

    images: list[DicomFile] = field(default_factory=list)
    derived: list[DicomFile] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    not_dicom: list[Path] = field(default_factory=list)
    no_scans: list[tuple[DicomFile, str]] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)


def read_tree(folder: Path, *, recursive: bool, shown_root: str = "") -> Tree:
    """Return the files of a folder by their headers. Links to folders are not followed, hidden files are skipped.

    Args:
        folder: the folder.
        recursive: whether its sub-folders count.
        shown_root: what messages call the folder where it is a zip taken apart.
    """
    tree = Tree()
    for path in _members(folder, tree.left_out, recursive=recursive):
        shown = f"{shown_root}: {path.relative_to(folder).as_posix()}" if shown_root else ""
        try:
            _sort_in(tree, path, shown)
        except (MedganError, OSError) as error:
            name = printable(shown or str(path))
            reason = error.strerror or type(error).__name__ if isinstance(error, OSError) else ""
            message = f"{name} could not be read: {reason}." if reason else str(error)
            tree.damaged.append(Damaged(path, message))
            tree.left_out[name] = "damaged, or could not be read"
    tree.images = _without_copies(tree.images, tree.left_out)
    return tree


def _members(folder: Path, left_out: dict[str, str], *, recursive: bool) -> Iterator[Path]:
    """Yield the files, in the order of their names whatever the file system says."""

    def note(error: OSError) -> None:
        left_out[printable(str(error.filename))] = f"folder that could not be opened: {error.strerror}"

    for root, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _sort_in(tree: Tree, path: Path, shown: str) -> None:
    file = read_header(path, shown=shown)
    if file is None:
        tree.left_out[printable(shown or str(path))] = "not DICOM"
        tree.not_dicom.append(path)
        return
    for keyword in _OF_EVERY_IMAGE if "Rows" in file.header else ():
        file.text(keyword)  # one that cannot be decoded makes this file a damaged one
    if file.sop_class in _DERIVED:
        tree.derived.append(file)
    elif reason := _why_no_scan(file):
        tree.left_out[file.name] = reason
        if "Rows" in file.header:
            tree.no_scans.append((file, reason))
    else:
        tree.images.append(file)


def _why_no_scan(file: DicomFile) -> str:
    """Return why a file is no image of a scan, "" if it is one."""
    uid = file.sop_class
    if uid in _NO_SCAN:
        return _NO_SCAN[uid]
    if "Rows" not in file.header:
        return f"no image ({uid.name.removesuffix(' Storage')})" if uid.name != uid else "no image"
    photometric = file.text("PhotometricInterpretation")
    if photometric not in _GREY or file.integer("SamplesPerPixel", default=1) != 1:
        return f"colour image ({photometric if photometric in _COLOURS else 'photometric interpretation unclear'})"
    if uid in _SECONDARY_CAPTURES and "ImagePositionPatient" not in file.header and not is_multi_frame(file):
        return "secondary capture (screenshot)"
    return ""


def _without_copies(images: Sequence[DicomFile], left_out: dict[str, str]) -> list[DicomFile]:
    """Return the images but for files that repeat another byte for byte."""
    first_of: dict[str, DicomFile] = {}
    kept = []
    for image in images:
        first = first_of.setdefault(image.text("SOPInstanceUID") or image.name, image)
        if first is not image and filecmp.cmp(first.path, image.path, shallow=False):
            left_out[image.name] = f"copy of {first.short_name}"
        else:
            kept.append(image)
    return kept
