"""What an RTSTRUCT file says: its ROIs with their contours, and the images it refers to.

ROI names and other text do not enter messages; ROI numbers do.
"""

import math
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import RTStructureSetStorage

from medgan.errors import MedganError
from medgan.labels import CodedTerm
from medgan.volume.dicom.files import DicomFile, read_header

_CLOSED = {b"CLOSED_PLANAR", b"CLOSEDPLANAR_XOR"}
_OPEN = {b"POINT", b"OPEN_PLANAR", b"OPEN_NONPLANAR"}
_NUMBER_BYTES = b"0123456789+-.eE\\ "  # Python alone would take "nan", "inf" and "1_0"
_MAX_BYTES = 2**29
_MAX_ITEMS = (
    250_000  # of one sequence and those in it, some 5 s to parse; a set of 100 organs on 500 slices has 200,000
)
_RT_GROUP = 0x3006
_OF_AN_EMPTY_ROI = {
    tag_for_keyword(keyword)
    for keyword in (
        "ROIDisplayColor",
        "SourcePixelPlanesCharacteristicsSequence",
        "SourceSeriesSequence",
        "ReferencedROINumber",
    )
}


@dataclass(frozen=True, eq=False)
class Roi:
    """One ROI and its closed contours.

    Attributes:
        number: its ROI number.
        name: its ROI name.
        color: its display color, if the file gives one.
        code: its identification code, if the file gives one.
        points: (N, 3) vertices of all contours, one after the other, in DICOM's LPS mm.
        sizes: (M,) number of vertices of each contour.
    """

    number: int
    name: str
    color: tuple[int, int, int] | None
    code: CodedTerm | None
    points: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True)
class ReferencedSeries:
    """An image series the contours were drawn on: its UID ("" if not given), and those of its images."""

    uid: str
    frame_of_reference_uid: str
    image_uids: frozenset[str]


class Notes:
    """Which contours are odd and how, told once for each kind when all have been seen."""

    def __init__(self) -> None:
        self._counts: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def add(self, what: str, *, roi: int, num_contours: int) -> None:
        """Remember that so many contours of an ROI "lie outside the image"."""
        if num_contours:
            self._counts[what][roi] += num_contours

    def warn(self, where: str, *, stacklevel: int) -> None:
        """Warn once for each kind, with the ROI numbers and the number of contours."""
        for what, counts in self._counts.items():
            shown = ", ".join(str(number) for number in list(counts)[:8]) + (", ..." if len(counts) > 8 else "")
            total = sum(counts.values())
            warnings.warn(f"{where}: contours of ROI {shown} ({total} in all) {what}.", stacklevel=stacklevel + 1)


def open_rtstruct(path: Path) -> DicomFile:
    """Return a DICOM file.

    Raises:
        MedganError: if there is no file, or it is damaged or not DICOM.
    """
    if not path.is_file():
        raise MedganError(f"{path} must be an RTSTRUCT file, but {'is a folder' if path.exists() else 'is not there'}.")
    file = read_header(path)
    if file is None:
        raise MedganError(f"{path} must be an RTSTRUCT (DICOM structure set), but is not DICOM.")
    return file


def is_rtstruct(file: DicomFile) -> bool:
    """Return whether a DICOM file is a structure set."""
    return file.text("SOPClassUID") == RTStructureSetStorage


def check_rtstruct(file: DicomFile) -> None:
    """Raise `MedganError` unless a file is a structure set, and not too large to be parsed."""
    if not is_rtstruct(file):
        raise MedganError(
            f"{file.name} must be an RTSTRUCT (DICOM structure set), but is of modality {_modality_of(file)}."
        )
    if (num_bytes := file.path.stat().st_size) > _MAX_BYTES:
        raise MedganError(f"{file.name} is too large for an RTSTRUCT: {num_bytes:,} bytes, of {_MAX_BYTES:,} allowed.")
    for keyword in ("StructureSetROISequence", "ROIContourSequence"):
        if keyword not in file.header:
            raise MedganError(f"{file.name} is truncated or no structure set: it has no {keyword}; export it again.")


def rois_of(file: DicomFile, notes: Notes) -> list[Roi]:
    """Return every ROI of a structure set in its order, those without contours too.

    Contours that enclose nothing (points, open lines) are left out and noted.

    Raises:
        MedganError: if a contour has no, damaged or missing coordinates, or belongs to no ROI.
    """
    contours: dict[int, list[np.ndarray]] = {}
    colors: dict[int, tuple[int, int, int] | None] = {}
    for item in _items(file, "ROIContourSequence"):
        number = _number_of(item, "ReferencedROINumber")
        if number in contours:
            raise MedganError(f"{file.name} is damaged: it has the contours of ROI {number} twice; export it again.")
        _check_known(item, number)
        colors[number] = _color_of(item)
        contours[number] = _closed_contours(item, number, notes)
    names = _names_of(file)
    if unknown := sorted(contours.keys() - names.keys()):
        raise MedganError(f"{file.name} is damaged: it has contours of ROI {unknown[0]}, but names no such ROI.")
    codes = _codes_of(file)
    return [
        Roi(
            number,
            name,
            colors.get(number),
            codes.get(number),
            np.concatenate([*contours.get(number, []), np.empty((0, 3))]),
            np.array([len(points) for points in contours.get(number, [])], dtype=np.intp),
        )
        for number, name in names.items()
    ]


def referenced_series(file: DicomFile) -> list[ReferencedSeries]:
    """Return the image series a structure set refers to; those with images first, the most of them first."""
    found = [
        ReferencedSeries(series.uid("SeriesInstanceUID"), frame.uid("FrameOfReferenceUID"), _image_uids(series))
        for frame in _items(file, "ReferencedFrameOfReferenceSequence")
        for study in _items(frame, "RTReferencedStudySequence")
        for series in _items(study, "RTReferencedSeriesSequence")
    ]
    if not any(series.image_uids for series in found):
        by_contour = frozenset().union(*(_image_uids(contour) for contour in _all_contours(file)))
        uid, frame_uid = (found[0].uid, found[0].frame_of_reference_uid) if len(found) == 1 else ("", "")
        found = [ReferencedSeries(uid, frame_uid, by_contour)]
    return sorted((s for s in found if s.uid or s.image_uids), key=lambda s: -len(s.image_uids))


def _modality_of(file: DicomFile) -> str:
    modality = file.text("Modality")
    return modality if re.fullmatch("[A-Z]{2,10}", modality) else "unknown"


def _items(file: DicomFile, keyword: str) -> list[DicomFile]:
    return file.items(keyword, max_items=_MAX_ITEMS)


def _number_of(item: DicomFile, keyword: str) -> int:
    if item.text(keyword) == "":
        raise MedganError(f"{item.name} is damaged: an ROI has no {keyword}.")
    return item.integer(keyword)


def _check_known(item: DicomFile, number: int) -> None:
    """Refuse an ROI that has an element in place of contours that none should have: their tag may be damaged."""
    found = {tag for tag in item.header.keys() if tag >> 16 == _RT_GROUP} - _OF_AN_EMPTY_ROI  # noqa: SIM118
    if found and "ContourSequence" not in item.header:
        raise MedganError(f"{item.name} is damaged: ROI {number} has no contours but an element {min(found)} instead.")


def _names_of(file: DicomFile) -> dict[int, str]:
    names: dict[int, str] = {}
    for item in _items(file, "StructureSetROISequence"):
        number = _number_of(item, "ROINumber")
        if number in names:
            raise MedganError(f"{file.name} must name every ROI once, but has ROI {number} twice.")
        name = "".join(character for character in item.text("ROIName").strip() if character.isprintable())
        names[number] = name or f"ROI {number}"
    return names


def _color_of(item: DicomFile) -> tuple[int, int, int] | None:
    """Return the display color; None if there is none, or it is damaged, which does no harm."""
    try:
        red, green, blue = map(int, item.numbers("ROIDisplayColor", 3))
    except MedganError:
        return None
    return (red, green, blue) if all(0 <= value <= 255 for value in (red, green, blue)) else None


def _codes_of(file: DicomFile) -> dict[int, CodedTerm]:
    codes = {}
    for observation in _items(file, "RTROIObservationsSequence"):
        for item in _items(observation, "RTROIIdentificationCodeSequence")[:1]:
            value = item.text("CodeValue") or item.text("LongCodeValue")
            term = CodedTerm(item.text("CodingSchemeDesignator"), value, item.text("CodeMeaning"))
            if term.scheme and term.value and term.meaning:
                codes[_number_of(observation, "ReferencedROINumber")] = term
    return codes


def _all_contours(file: DicomFile) -> Iterator[DicomFile]:
    for roi in _items(file, "ROIContourSequence"):
        yield from _items(roi, "ContourSequence")


def _image_uids(item: DicomFile) -> frozenset[str]:
    """Return the images of a ContourImageSequence; anonymisers leave empty items in it."""
    uids = (image.uid("ReferencedSOPInstanceUID") for image in _items(item, "ContourImageSequence"))
    return frozenset(uid for uid in uids if uid)


def _closed_contours(item: DicomFile, number: int, notes: Notes) -> list[np.ndarray]:
    closed, num_open = [], 0
    where = f"{item.name}: a contour of ROI {number}"
    for contour in _items(item, "ContourSequence"):
        kind = _bytes_of(contour, "ContourGeometricType", where)
        if kind in _OPEN:
            num_open += 1
        elif kind in _CLOSED:
            closed.append(_points_of(contour, where))
        else:
            raise MedganError(f"{where} must be closed, open or a point, but its ContourGeometricType says neither.")
    notes.add("are points or open lines, which enclose nothing, and are left out", roi=number, num_contours=num_open)
    return closed


def _points_of(contour: DicomFile, where: str) -> np.ndarray:
    """Return the (N, 3) vertices of a contour."""
    text = _bytes_of(contour, "ContourData", where)
    if not text:
        raise MedganError(f"{where} has no ContourData; export it again.")
    numbers = _numbers(text, "ContourData", where)
    count = _bytes_of(contour, "NumberOfContourPoints", where)
    num_points = float(_numbers(count, "NumberOfContourPoints", where)[0]) if count else math.ceil(numbers.size / 3)
    if numbers.size != 3 * num_points:
        raise MedganError(
            f"{where} must have three coordinates for each of its {num_points:g} points, found {numbers.size} numbers; "
            "export it again."
        )
    return numbers.reshape(-1, 3)


def _bytes_of(contour: DicomFile, keyword: str, where: str) -> bytes:
    """Return an element as it lies in the file: pydicom would take a hundred times longer to decode all coordinates."""
    element: Any = contour.header.get_item(keyword)
    value = b"" if element is None else element.value or b""
    if not isinstance(value, bytes) or (element is not None and element.VR not in (None, "UN", dictionary_VR(keyword))):
        raise MedganError(f"{where} is damaged: its {keyword} is of another kind than it must be.")
    return value.strip(b"\0 ")


def _numbers(text: bytes, keyword: str, where: str) -> np.ndarray:
    try:
        numbers = np.array([float(part) for part in text.split(b"\\")])
    except ValueError:
        numbers = np.array([math.nan])
    if text.translate(None, _NUMBER_BYTES) or not np.isfinite(numbers).all():
        raise MedganError(f"{where} must have finite numbers in {keyword}, found something else; export it again.")
    return numbers
