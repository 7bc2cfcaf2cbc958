"""The image series of a DICOM tree as rows of a table, without anything that could name a patient."""

from dataclasses import dataclass

import numpy as np

from medgan.errors import MedganError
from medgan.volume.dicom.files import DicomFile
from medgan.volume.dicom.rtstruct_file import referenced_series
from medgan.volume.dicom.series import Scan, Series, is_segmentation


@dataclass(frozen=True)
class SeriesRow:
    """One image series.

    Attributes:
        key: what to choose it by.
        modality: as in DICOM, "" if unknown.
        num_slices: how many slices it has.
        size_voxels: columns and rows; None if its headers have no geometry.
        spacing_mm: between columns, rows, and slices (0 for one slice); None likewise.
        distinction: what tells it apart from other stacks under its UID.
        segmentations: the RTSTRUCT and SEG objects of the tree that refer to it, as "RTSTRUCT plan.dcm".
    """

    key: str
    modality: str
    num_slices: int
    size_voxels: tuple[int, int] | None
    spacing_mm: tuple[float, float, float] | None
    distinction: str = ""
    segmentations: tuple[str, ...] = ()


def rows_of(found: Scan) -> tuple[SeriesRow, ...]:
    """Return a row for each image series of a scan."""
    return tuple(_row_of(series, found) for series in found.series)


def name_of(file: DicomFile) -> str:
    """Return kind and file name of an RTSTRUCT or SEG object."""
    return f"{'SEG' if is_segmentation(file) else 'RTSTRUCT'} {file.short_name}"


def _row_of(series: Series, found: Scan) -> SeriesRow:
    joined = tuple(name_of(file) for file in found.derived if series.uid in _referenced_uids(file))
    if not series.slices:
        return SeriesRow(series.key, series.modality, len(series.files), None, None, series.distinction, joined)
    first = series.slices[0]
    columns, rows = first.spacing_mm.tolist()
    steps = np.diff(np.sort([each.position @ first.normal for each in series.slices]))
    return SeriesRow(
        series.key,
        series.modality,
        len(series.slices),
        first.size,
        (columns, rows, float(np.median(steps)) if steps.size else 0.0),
        series.distinction,
        joined,
    )


def _referenced_uids(file: DicomFile) -> set[str]:
    """Return the SeriesInstanceUIDs that a derived object refers to; none if it is damaged."""
    try:
        if not is_segmentation(file):
            return {reference.uid for reference in referenced_series(file)}
        return {item.uid("SeriesInstanceUID") for item in file.items("ReferencedSeriesSequence")}
    except MedganError:  # reading that object says what is wrong with it
        return set()
