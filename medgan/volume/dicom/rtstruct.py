"""RTSTRUCT: the contours of a radiotherapy structure set as masks on the grid of the image they were drawn on.

Contours are filled by the even-odd rule, and a voxel belongs to an organ if its centre does. Nothing is invented:
slices between contours that are further apart than the slices stay empty, and contours that are not drawn are told of.
"""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.volume.affine import lps_to_ras
from medgan.volume.checks import MAX_VOXELS, check_num_voxels
from medgan.volume.dicom.contours import MAX_COORDINATE, Box, box_of, fill, num_crossings
from medgan.volume.dicom.files import DicomFile
from medgan.volume.dicom.rtstruct_file import Notes, Roi, check_rtstruct, open_rtstruct, rois_of
from medgan.volume.dicom.rtstruct_grid import GIVE_THE_IMAGE, Grid, grid_of
from medgan.volume.segments import Segment, Segments
from medgan.volume.volume import Volume

_SAME_PLANE = 0.1  # of the distance between slices: how far a contour may leave its plane, and two may be apart in one
_ON_SLICE_MM, _ON_SLICE = 0.05, 0.02  # how far a contour on a slice may be off it: mm, or of the distance of slices
_MAX_CROSSINGS = 2**25  # of all contours and lines of voxels, some 5 s; a set of 100 organs has a tenth of it
_BYTES_PER_VOXEL = 4  # all masks together may take what a float32 volume of max_voxels would


Order = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Contours of one ROI: (N, 3) voxel coordinates, number of vertices of each, and (M, 3) extremes and means."""

    voxels: np.ndarray
    sizes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray


@dataclass(frozen=True, eq=False)
class _Placed:
    """Contours of one ROI on the slices: (N, 2) voxel coordinates, number of vertices of each, and its slice."""

    points: np.ndarray
    sizes: np.ndarray
    planes: np.ndarray


def read_rtstruct(
    path: str | Path, *, reference: Volume | str | Path | None = None, max_voxels: int = MAX_VOXELS
) -> Segments:
    """Return the ROIs of a structure set as masks on the grid of the image they were drawn on.

    A segment has the ROI's number, name, color and code; one without closed contours is empty. What is odd (contours
    between slices, outside the image, left out, on every second slice only) is told by warnings.

    Args:
        path: an RTSTRUCT file.
        reference: the image, or where it is, on whose grid the contours are drawn; its slices must be parallel to them.
            None looks for the series the file refers to: below the file's folder, then below the folder above.
        max_voxels: the most voxels of the grid.

    Raises:
        MedganError: if the file is damaged or no RTSTRUCT, the series or some of its images are not there, a contour is
            not parallel to the slices, all contours lie outside the image, or there are more than could be honest.

    Example:
        >>> segments = read_rtstruct("case_07/rtstruct.dcm", reference="case_07/ct")  # doctest: +SKIP
        >>> segments.names  # doctest: +SKIP
        ('Heart', 'Lt Lung')
    """
    return read_rois_of(open_rtstruct(Path(path)), reference=reference, max_voxels=max_voxels)


def read_rois_of(
    file: DicomFile, *, reference: Volume | str | Path | None = None, max_voxels: int = MAX_VOXELS
) -> Segments:
    """Return the ROIs of a structure set that is open, as `read_rtstruct` does.

    Raises:
        MedganError: as `read_rtstruct`.
    """
    check_rtstruct(file)
    notes = Notes()
    rois = _numbered(file, rois_of(file, notes))
    grid = grid_of(file, reference, max_voxels=max_voxels)
    check_num_voxels(Path(grid.name), grid.shape, max_voxels=max_voxels)
    drawn = [_drawn(file, roi, grid) for roi in rois]
    order = _slices_last(file, rois, drawn, grid)
    shape = grid.shape[order[0]], grid.shape[order[1]], grid.shape[order[2]]
    placed = [_place(roi, each, grid, order, notes) for roi, each in zip(rois, drawn, strict=True)]
    if any(each.sizes.size for each in drawn) and not any(each.sizes.size for each in placed):
        raise MedganError(
            f"{file.name}: its contours must lie inside the image, but all are outside {grid.name}; give the image "
            "they were drawn on."
        )
    boxes = [box_of(each.points, each.sizes, each.planes, shape) for each in placed]
    _check_work(file, placed, boxes, num_j=shape[1], max_bytes=_BYTES_PER_VOXEL * max_voxels)
    segments = tuple(_segment(*each, order=order) for each in zip(rois, placed, boxes, strict=True))
    notes.warn(file.name, stacklevel=3)
    return Segments(segments, grid.shape, grid.affine)


def _numbered(file: DicomFile, rois: Sequence[Roi]) -> list[Roi]:
    """Return the ROIs with numbers that can be label values; tell of names that are not unique."""
    num_of = Counter(roi.name for roi in rois)
    if repeated := [str(roi.number) for roi in rois if num_of[roi.name] > 1]:
        warnings.warn(f"{file.name}: ROIs {', '.join(repeated[:8])} do not have names of their own.", stacklevel=3)
    if all(roi.number >= 1 for roi in rois):
        return list(rois)
    warnings.warn(
        f"{file.name}: ROI numbers must be above 0 to be label values, so they now count from 1.", stacklevel=3
    )
    return [replace(roi, number=number) for number, roi in enumerate(rois, start=1)]


def _drawn(file: DicomFile, roi: Roi, grid: Grid) -> _Drawn:
    """Return the contours of an ROI in voxel coordinates."""
    to_voxels = np.linalg.inv(lps_to_ras(grid.affine))
    with np.errstate(over="ignore", invalid="ignore"):
        voxels = roi.points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        if not (np.abs(voxels) <= MAX_COORDINATE).all():
            raise MedganError(
                f"{file.name}: contours must lie near the image, but one of ROI {roi.number} reaches more than "
                f"{MAX_COORDINATE:,} voxels away; export it again."
            )
    if not roi.sizes.size:
        return _Drawn(voxels, roi.sizes, *np.empty((3, 0, 3)))
    starts = np.cumsum(roi.sizes) - roi.sizes
    centre = np.add.reduceat(voxels, starts) / roi.sizes[:, None]
    return _Drawn(voxels, roi.sizes, np.minimum.reduceat(voxels, starts), np.maximum.reduceat(voxels, starts), centre)


def _slices_last(file: DicomFile, rois: Sequence[Roi], drawn: Sequence[_Drawn], grid: Grid) -> Order:
    """Return the axes of the grid in the order in which every contour lies within a plane of the last one."""
    oblique: dict[Order, list[int]] = {}
    orders: tuple[Order, ...] = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
    for order in orders:
        extents = [(each.high - each.low)[:, order[2]] for each in drawn]
        oblique[order] = [roi.number for roi, extent in zip(rois, extents, strict=True) if (extent > _SAME_PLANE).any()]
        if not oblique[order]:
            return order
    order = min(orders, key=lambda each: len(oblique[each]))
    raise MedganError(
        f"{file.name}: contours must be parallel to the slices of the image, but some of ROI {oblique[order][0]} are "
        f"oblique to {grid.name}; {GIVE_THE_IMAGE}."
    )


def _place(roi: Roi, drawn: _Drawn, grid: Grid, order: Order, notes: Notes) -> _Placed:
    """Return the contours of an ROI on the slices nearest to them; of several planes at one slice, the nearest."""
    sides, across = list(order[:2]), order[2]
    along = drawn.centre[:, across]
    planes = np.floor(along + 0.5).astype(np.intp)
    last = np.array(grid.shape)[sides] - 1
    is_inside = (planes >= 0) & (planes < grid.shape[across])
    is_inside &= ((drawn.high[:, sides] >= -0.5) & (drawn.low[:, sides] <= last + 0.5)).all(axis=1)
    is_cut = ((drawn.low[:, sides] < -1) | (drawn.high[:, sides] > last + 1)).any(axis=1)
    is_nearest = _nearest_to_slices(along, planes)
    is_first = _first_of_copies(drawn)
    step_mm = 1.0 / float(np.linalg.norm(np.linalg.inv(grid.affine)[across, :3]))
    is_off = np.abs(along - planes) * step_mm > max(_ON_SLICE_MM, _ON_SLICE * step_mm)
    kept = is_inside & is_nearest & is_first
    used = np.unique(planes[kept])
    gap = int(np.median(np.diff(used))) if used.size > 2 else 1
    for what, which in (
        ("lie outside the image and are left out", ~is_inside),
        ("reach outside the image and are cut off", kept & is_cut),
        ("are left out, as others lie nearer to the same slice", is_inside & ~is_nearest),
        ("repeat another one and count once", is_inside & is_nearest & ~is_first),
        ("lie between slices and are drawn on the nearest one", kept & is_off),
        (f"lie {gap} slices apart; the slices between are left empty", kept & (gap > 1)),
    ):
        notes.add(what, roi=roi.number, num_contours=int(which.sum()))
    return _Placed(drawn.voxels[np.repeat(kept, drawn.sizes)][:, sides], drawn.sizes[kept], planes[kept])


def _nearest_to_slices(along: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Return which contours lie in the plane nearest to their slice, or in the first of two equally near ones."""
    by_distance = np.lexsort((along, np.abs(along - planes), planes))
    slices, first = np.unique(planes[by_distance], return_index=True)
    nearest = along[by_distance][first][np.searchsorted(slices, planes)]
    is_nearest: np.ndarray = np.abs(along - nearest) <= _SAME_PLANE
    return is_nearest


def _first_of_copies(drawn: _Drawn) -> np.ndarray:
    """Return which contours are not the same, point by point, as one before: by the even-odd rule they would cancel."""
    seen: set[bytes] = set()
    is_first = np.ones(len(drawn.sizes), bool)
    for number, points in enumerate(np.split(drawn.voxels, np.cumsum(drawn.sizes))[:-1]):
        digest = hashlib.sha256(points.tobytes()).digest()
        is_first[number] = digest not in seen
        seen.add(digest)
    return is_first


def _check_work(
    file: DicomFile, placed: Sequence[_Placed], boxes: Sequence[Box], *, num_j: int, max_bytes: int
) -> None:
    num_bytes = sum(math.prod(part.stop - part.start for part in box) for box in boxes)
    if num_bytes > max_bytes:
        raise MedganError(
            f"{file.name}: its {len(boxes)} ROIs are too large to hold at once ({num_bytes:,} voxels in all, limit "
            f"{max_bytes:,}); split the file, or call read_rtstruct with a larger max_voxels."
        )
    crossings = sum(num_crossings(each.points, num_j=num_j) for each in placed)
    if crossings > _MAX_CROSSINGS:
        raise MedganError(
            f"{file.name}: its contours cross the rows of the image some {crossings:,.0f} times, and at most "
            f"{_MAX_CROSSINGS:,} can be drawn; no organs have such contours, so export it again."
        )


def _segment(roi: Roi, placed: _Placed, box: Box, *, order: Order) -> Segment:
    mask = fill(placed.points, placed.sizes, placed.planes, box=box).transpose(np.argsort(order))
    part = Segment.from_mask(roi.number, roi.name, mask, color=roi.color, code=roi.code)
    starts = [each.start for each in box]
    i, j, k = (int(inner + starts[order.index(axis)]) for axis, inner in enumerate(part.start))
    return replace(part, start=(i, j, k) if part.num_voxels else (0, 0, 0))
