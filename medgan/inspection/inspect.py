"""What an image, a label or a DICOM tree holds, as medgan understands it."""

import warnings
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from medgan.errors import MedganError
from medgan.inspection.geometry import Grid, grid_of, oddities_of
from medgan.inspection.hounsfield import Intensity, intensity_of, sample_of
from medgan.inspection.regions import regions_of
from medgan.inspection.series import SeriesRow, name_of, rows_of
from medgan.volume import image2d
from medgan.volume.checks import MAX_VOXELS
from medgan.volume.dicom.archive import is_archive
from medgan.volume.dicom.files import DicomFile, read_header
from medgan.volume.dicom.rtstruct_file import Notes, is_rtstruct, referenced_series, rois_of
from medgan.volume.dicom.seg import is_seg
from medgan.volume.dicom.series import Scan, Series, choose_series, scan
from medgan.volume.mask_folder import is_mask_folder
from medgan.volume.readers import READERS, read_segments, read_stored, segments_of
from medgan.volume.segments import Segment, Segments
from medgan.volume.volume import Volume

Kind = Literal["image", "label", "segments", "rtstruct", "tree"]

_MOST_LABELS = 256
_MOST_FRACTIONAL = 0.05
_FEWEST_EQUAL = 0.6


@dataclass(frozen=True)
class LabelRow:
    """One label value or segment.

    Attributes:
        number: the value, segment number or ROI number.
        name: what the file calls it, "" if it gives no name.
        num_voxels: how many voxels it marks; None if it cannot be drawn.
        volume_ml: how much space they take; None likewise.
    """

    number: int
    name: str
    num_voxels: int | None
    volume_ml: float | None


@dataclass(frozen=True)
class Overlap:
    """Two segments that mark the same voxels, by their numbers."""

    first: int
    second: int
    num_voxels: int


@dataclass(frozen=True)
class Inspection:
    """What was understood of an input.

    Attributes:
        path: as given.
        kind: an image; a label volume; named segments; an RTSTRUCT that cannot be drawn, for want of its image; or a
            DICOM tree of which something must be chosen.
        grid: where its voxels lie; None for "rtstruct" and "tree".
        data_type: as stored, such as "int16"; of DICOM images as decoded. None for all but images and labels.
        intensity: of an image with finite voxels.
        labels: of a label volume, segments or an RTSTRUCT.
        overlaps: segments that share voxels.
        refers_to: of "rtstruct", the series it was drawn on, and how many of their images it names.
        series: the image series of a DICOM tree.
        series_key: the one that was read.
        oddities: what is unusual, and what the readers warned of, one sentence each.
        left_out: files of a DICOM tree that belong to no series, with the reason.
    """

    path: str
    kind: Kind
    grid: Grid | None = None
    data_type: str | None = None
    intensity: Intensity | None = None
    labels: tuple[LabelRow, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    refers_to: dict[str, int] = field(default_factory=dict)
    series: tuple[SeriesRow, ...] = ()
    series_key: str | None = None
    oddities: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)


def inspect(
    path: str | Path,
    *,
    series: str | None = None,
    reference: str | Path | None = None,
    max_voxels: int = MAX_VOXELS,
) -> Inspection:
    """Return what an image, label, set of segments or DICOM tree holds.

    Args:
        path: any file, folder or zip that medgan reads.
        series: key, SeriesInstanceUID or description of a DICOM series; without it, a tree of several is listed.
        reference: the image that an RTSTRUCT or DICOM SEG belongs to, where that does not lie beside it.
        max_voxels: as in `read_volume`.

    Raises:
        MedganError: if it cannot be read.

    Example:
        >>> inspect("thorax.nii.gz").grid.orientation  # doctest: +SKIP
        'LPS'
    """
    path = Path(path)
    if not path.exists():
        raise MedganError(f"{path} does not exist; check the path.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _inspected(path, series=series, reference=reference, max_voxels=max_voxels)
    told = dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning)
    return replace(found, oddities=(*found.oddities, *told))


def _inspected(path: Path, *, series: str | None, reference: str | Path | None, max_voxels: int) -> Inspection:
    if path.is_dir() and is_mask_folder(path):
        return _of_folder(path, series=series, reference=reference, max_voxels=max_voxels)
    header = read_header(path) if path.is_file() else None
    if header is not None and (is_seg(header) or is_rtstruct(header)):
        return _of_object(path, header, reference=reference, max_voxels=max_voxels)
    if path.name.lower().endswith(".seg.nrrd"):
        return _of_segments(path, read_segments(path, reference=reference, max_voxels=max_voxels))
    if header is not None or path.is_dir() or is_archive(path):
        return _of_dicom(path, series=series, reference=reference, max_voxels=max_voxels)
    return _of_volume(path, read_stored(path, max_voxels=max_voxels))


def _of_folder(path: Path, *, series: str | None, reference: str | Path | None, max_voxels: int) -> Inspection:
    """Return the masks of a folder with volume files, or failing that the DICOM below it."""
    try:
        return _of_segments(path, read_segments(path, reference=reference, max_voxels=max_voxels))
    except MedganError as no_masks:
        try:
            found = _of_dicom(path, series=series, reference=reference, max_voxels=max_voxels)
        except MedganError:
            raise MedganError(
                f"{path} holds several volume files, which are read together only as masks of one organ each, and that "
                f"fails ({no_masks}); inspect one of them."
            ) from no_masks
        return replace(found, oddities=(*found.oddities, f"The volume files in it are not shown: {no_masks}"))


def _of_dicom(path: Path, *, series: str | None, reference: str | Path | None, max_voxels: int) -> Inspection:
    """Return the one image series, the one segmentation, or the list of what there is to choose from."""
    with scan(path) as found:
        rows = rows_of(found)
        left_out = {} if found.file is not None else dict(found.left_out)
        if not found.series and len(found.derived) == 1:
            only = _of_object(path, found.derived[0], reference=reference, max_voxels=max_voxels)
            return replace(only, left_out=left_out)
        chosen = _chosen(found, path, series)
    if chosen is None:
        return Inspection(str(path), "tree", series=rows, oddities=_only_derived(found), left_out=left_out)
    image = _of_image(path, read_stored(path, series=chosen.key, max_voxels=max_voxels))
    return replace(image, series=rows, series_key=chosen.key, left_out=left_out)


def _of_object(path: Path, file: DicomFile, *, reference: str | Path | None, max_voxels: int) -> Inspection:
    """Return what a SEG or RTSTRUCT holds; of an RTSTRUCT whose image is not there, what it says itself."""
    try:
        segments = segments_of(file, reference=reference, max_voxels=max_voxels)
    except MedganError as error:
        if reference is not None or not is_rtstruct(file):
            raise
        rois = rois_of(file, Notes())
        return Inspection(
            str(path),
            "rtstruct",
            labels=tuple(LabelRow(roi.number, roi.name, None, None) for roi in rois),
            refers_to={each.uid: len(each.image_uids) for each in referenced_series(file)},
            oddities=(f"It cannot be drawn: {error}",),
        )
    assert segments is not None, "it is one of the two"
    return _of_segments(path, segments)


def _chosen(found: Scan, path: Path, series: str | None) -> Series | None:
    """Return the series to read, or None where there are several things and nothing was asked for."""
    try:
        return choose_series(found, where=str(path), series=series)
    except MedganError:
        if series is not None or len(found.series) + len(found.derived) < 2:
            raise
        return None


def _only_derived(found: Scan) -> tuple[str, ...]:
    if found.series:
        return ()
    listed = ", ".join(name_of(file) for file in found.derived)
    return (f"There is no image series, but {len(found.derived)} segmentations ({listed}); inspect one by its path.",)


def _of_volume(path: Path, volume: Volume) -> Inspection:
    found = _of_label(path, volume) if looks_like_label(volume.data[0]) else _of_image(path, volume)
    if READERS.get(path.suffix.lower()) is not image2d.read:
        return found
    return replace(
        found, oddities=(*found.oddities, "Its format keeps no geometry: 1 mm and the directions are nominal.")
    )


def _of_image(path: Path, volume: Volume) -> Inspection:
    grid = grid_of(volume.shape, volume.affine)
    oddities = oddities_of(grid)
    values = volume.data
    if values.dtype.kind == "f" and not (is_finite := np.isfinite(values)).all():
        values = values[is_finite]
        num_lost = volume.data.size - values.size
        oddities.append(f"{num_lost:,} voxels are NaN or infinite; as an image it would be refused.")
    intensity = intensity_of(values) if values.size else None
    return Inspection(str(path), "image", grid, str(volume.data.dtype), intensity, oddities=tuple(oddities))


def _of_label(path: Path, volume: Volume) -> Inspection:
    grid = grid_of(volume.shape, volume.affine)
    oddities = oddities_of(grid)
    whole = np.trunc(volume.data)
    if num_fractional := int(np.count_nonzero(whole != volume.data)):
        oddities.append(f"{num_fractional:,} voxels are no whole numbers; as a label it would be refused.")
    regions = regions_of(Volume(whole.astype(np.uint32), volume.affine))
    if not regions:
        oddities.append("It is 0 everywhere: an empty label, or a blank image.")
    rows = tuple(LabelRow(region.value, "", region.num_voxels, region.volume_ml) for region in regions)
    return Inspection(str(path), "label", grid, str(volume.data.dtype), labels=rows, oddities=tuple(oddities))


def _of_segments(path: Path, found: Segments) -> Inspection:
    grid = grid_of(found.shape, found.affine)
    voxel_ml = float(abs(np.linalg.det(found.affine[:3, :3]))) / 1000.0
    rows = tuple(LabelRow(s.number, s.name, s.num_voxels, s.num_voxels * voxel_ml) for s in found.segments)
    empty = tuple(f"Segment {row.number} ({row.name}) is empty." for row in rows if not row.num_voxels)
    return Inspection(
        str(path),
        "segments",
        grid,
        labels=rows,
        overlaps=tuple(_overlaps_of(found.segments)),
        oddities=(*oddities_of(grid), *empty),
    )


def _overlaps_of(segments: tuple[Segment, ...]) -> list[Overlap]:
    shared = ((first, second, first.num_shared(second)) for first, second in combinations(segments, 2))
    return [Overlap(first.number, second.number, num_voxels) for first, second, num_voxels in shared if num_voxels]


def looks_like_label(values: np.ndarray) -> bool:
    """Return whether voxels (I, J, K) look like labels: few whole numbers from 0, in patches of equal ones.

    A few fractional values, as interpolation leaves, do not change that.
    """
    sample = sample_of(values)
    if not np.isfinite(sample).all() or sample.min() < 0 or float(values.min()) < 0 or sample.max() >= 2**32:
        return False
    whole = np.trunc(sample)
    num_values = np.unique(whole).size
    if np.count_nonzero(whole != sample) > _MOST_FRACTIONAL * sample.size or num_values > _MOST_LABELS:
        return False
    if num_values <= 2:
        return bool(sample.min() == 0)
    return all(_share_of_equal_neighbours(values, axis) > _FEWEST_EQUAL for axis in (0, 1))


def _share_of_equal_neighbours(values: np.ndarray, axis: int) -> float:
    """Return how many neighbours along an axis, but for pairs of background, are equal."""
    planes = np.moveaxis(values, axis, 0)
    is_marked = (planes[:-1] != 0) | (planes[1:] != 0)
    is_equal = planes[:-1][is_marked] == planes[1:][is_marked]
    return float(is_equal.mean()) if is_equal.size else 1.0
