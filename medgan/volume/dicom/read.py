"""A DICOM series as a volume: our own check of its geometry, then its pixels.

Positions and orientation of every slice decide; slice numbers, file names and SliceThickness do not (except the
thickness of a series of one slice, which has no other measure).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import config

from medgan.errors import MedganError
from medgan.volume.affine import lps_to_ras
from medgan.volume.checks import MAX_VOXELS, check_num_voxels, volume_at
from medgan.volume.dicom.files import DicomFile, find_series
from medgan.volume.dicom.pixels import check_pixels, read_pixels
from medgan.volume.volume import Volume

_TOLERANCE_MM = 0.05
_TOLERANCE_OF_STEP = 0.02
_MAX_TILT_DEGREES = 0.5
_MAX_COSINE_ERROR = 1e-3


@dataclass(frozen=True)
class _Slice:
    """One slice with its geometry, in DICOM's LPS millimetres: the axes of columns and rows, and its first pixel."""

    file: DicomFile
    size: tuple[int, int]  # columns, rows
    spacing_mm: np.ndarray  # between columns, between rows
    axes: np.ndarray  # (3, 2): unit vectors along which columns and rows count up
    position: np.ndarray

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.axes[:, 0], self.axes[:, 1])


def read(path: str | Path, *, max_voxels: int = MAX_VOXELS) -> Volume:
    """Return the one image series of a folder, or the series a single file belongs to, as float32 in real units (HU).

    Slices are sorted by position along their normal, which k follows; i runs along the columns, j along the rows.

    Raises:
        MedganError: if there is not exactly one series; if its slices differ in size, orientation or spacing, repeat a
            position, leave a gap, are unevenly spaced (more than 0.05 mm or 2 %) or tilted; if a file is damaged, is
            in colour, is multi-frame, or lacks geometry or (CT, PET) rescale; or if it holds more than `max_voxels`.
    """
    path = Path(path)
    with config.disable_value_validation():  # or pydicom warns of every overlong decimal string
        files = find_series(path)
        for file in files:
            check_pixels(file)
        slices = [_slice_of(file) for file in files]
        _check_alike(path, slices)
        slices = _sorted(path, slices)
        affine = _affine_of(path, slices)
        shape = (*slices[0].size, len(slices))
        check_num_voxels(path, shape, max_voxels=max_voxels)
        data = np.empty(shape, np.float32, order="F")
        for k, each in enumerate(slices):
            data[:, :, k] = read_pixels(each.file).T
    return volume_at(path, data[None], lps_to_ras(affine))


def _slice_of(file: DicomFile) -> _Slice:
    row_spacing, column_spacing = file.numbers("PixelSpacing", 2)
    if min(row_spacing, column_spacing) <= 0:
        raise MedganError(
            f"{file.path} must have a PixelSpacing above zero, found ({row_spacing:g}, {column_spacing:g})."
        )
    axes = file.numbers("ImageOrientationPatient", 6).reshape(2, 3).T
    if np.abs(axes.T @ axes - np.eye(2)).max() > _MAX_COSINE_ERROR:
        raise MedganError(
            f"{file.path} must have two perpendicular unit vectors in ImageOrientationPatient, found {axes.T.tolist()}."
        )
    size = file.integer("Columns"), file.integer("Rows")
    if min(size) < 1:
        raise MedganError(f"{file.path} must have Rows and Columns above zero, found a size of {size[0]}x{size[1]}.")
    return _Slice(
        file,
        size,
        spacing_mm=np.array([column_spacing, row_spacing]),
        axes=axes / np.linalg.norm(axes, axis=0),
        position=file.numbers("ImagePositionPatient", 3),
    )


def _check_alike(path: Path, slices: Sequence[_Slice]) -> None:
    _check_one(path, slices, "size", lambda s: s.size, tolerance=0)
    _check_one(path, slices, "orientation", lambda s: s.axes.ravel(), tolerance=_MAX_COSINE_ERROR)
    _check_one(path, slices, "PixelSpacing", lambda s: s.spacing_mm, tolerance=1e-4)


def _check_one(
    path: Path,
    slices: Sequence[_Slice],
    what: str,
    key: Callable[[_Slice], Sequence[float] | np.ndarray],
    *,
    tolerance: float,
) -> None:
    values = np.array([key(each) for each in slices], dtype=np.float64)
    common = np.array(Counter(map(tuple, values.tolist())).most_common(1)[0][0])
    odd = np.flatnonzero(np.abs(values - common).max(axis=1) > tolerance)
    if odd.size:
        names = ", ".join(slices[n].file.path.name for n in odd[:5])
        raise MedganError(
            f"series in {path}: all slices must have one {what}, most have {_short(common)}, but {names} "
            f"{'has' if odd.size == 1 else f'({odd.size} in all) have'} {_short(values[odd[0]])}; move it away."
        )


def _sorted(path: Path, slices: Sequence[_Slice]) -> list[_Slice]:
    """Return the slices by position along the normal, once the steps between them are even."""
    normal = slices[0].normal
    ordered = sorted(slices, key=lambda s: float(s.position @ normal))
    along = np.array([s.position @ normal for s in ordered])
    steps = np.diff(along)
    if not steps.size:
        return ordered
    repeated = np.flatnonzero(steps < max(1e-3, _TOLERANCE_OF_STEP * float(np.median(steps))))
    if repeated.size:
        a, b = ordered[repeated[0]], ordered[repeated[0] + 1]
        raise MedganError(
            f"series in {path}: {a.file.path.name} and {b.file.path.name} lie at the same position, "
            f"{along[repeated[0]]:g} mm; keep one slice per position (a series of several phases must be split)."
        )
    _check_gaps(path, along, steps)
    return ordered


def _check_gaps(path: Path, along: np.ndarray, steps: np.ndarray) -> None:
    step = float(steps.min())
    tolerance = max(_TOLERANCE_MM, _TOLERANCE_OF_STEP * step)
    multiples = np.rint(steps / step)
    if (np.abs(steps - multiples * step) <= tolerance * multiples).all():
        gaps = np.flatnonzero(multiples > 1)
    else:
        gaps = np.array([], dtype=int)
    if gaps.size:
        where = ", ".join(f"between {along[n]:g} and {along[n + 1]:g} mm" for n in gaps[:5])
        raise MedganError(f"series in {path}: slice missing {where} (step {step:g} mm); fetch the series again.")
    even = along[0] + np.arange(len(along)) * (along[-1] - along[0]) / (len(along) - 1)
    if np.abs(along - even).max() > max(_TOLERANCE_MM, _TOLERANCE_OF_STEP * float(np.mean(steps))):
        low, high = int(steps.argmin()), int(steps.argmax())
        raise MedganError(
            f"series in {path}: slices must be evenly spaced, found a step of {steps[low]:g} mm at {along[low]:g} mm "
            f"and of {steps[high]:g} mm at {along[high]:g} mm; resample it to even spacing first."
        )


def _affine_of(path: Path, slices: Sequence[_Slice]) -> np.ndarray:
    """Return the LPS affine; k is the mean step between slices, so that what shear rounding leaves is kept."""
    first = slices[0]
    affine = np.eye(4)
    affine[:3, :2] = first.axes * first.spacing_mm
    affine[:3, 3] = first.position
    if len(slices) == 1:
        thickness = first.file.numbers("SliceThickness", 1)[0]
        if thickness <= 0:
            raise MedganError(f"{first.file.path} must have a SliceThickness above zero, found {thickness:g}.")
        affine[:3, 2] = first.normal * thickness
        return affine
    step = (slices[-1].position - first.position) / (len(slices) - 1)
    tilt = np.degrees(np.arccos(min(1.0, float(step @ first.normal / np.linalg.norm(step)))))
    if tilt > _MAX_TILT_DEGREES:
        raise MedganError(
            f"series in {path}: slices must step along their normal, but are sheared by {tilt:.1f} degrees "
            "(gantry tilt); correct the tilt first."
        )
    affine[:3, 2] = step
    _check_in_line(path, slices, affine)
    return affine


def _check_in_line(path: Path, slices: Sequence[_Slice], affine: np.ndarray) -> None:
    along = np.outer(np.arange(len(slices)), affine[:3, 2])
    off_mm = np.linalg.norm(np.array([s.position for s in slices]) - affine[:3, 3] - along, axis=1)
    if off_mm.max() > max(_TOLERANCE_MM, _TOLERANCE_OF_STEP * float(np.linalg.norm(affine[:3, 2]))):
        odd = slices[int(off_mm.argmax())].file.path.name
        raise MedganError(
            f"series in {path}: slices must lie in one line, but the position of {odd} is {off_mm.max():.3g} mm off it."
        )


def _short(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.5g}" for v in values) + ")"
