"""A stack: the slices of a series in order along their normal, once they make one regular grid.

Positions and orientation of every slice decide; slice numbers, file names and SliceThickness do not (except the
thickness of a series of one slice, which has no other measure).
"""

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medgan.errors import MedganError
from medgan.volume.affine import lps_to_ras
from medgan.volume.dicom.series import Series, choose_series, scan
from medgan.volume.dicom.slices import MAX_COSINE_ERROR, Slice, slices_of
from medgan.volume.dicom.split import positions_of

__all__ = ["Slice", "Stack", "read_stack", "stack_of"]

_TOLERANCE_MM = 0.05
_TOLERANCE_OF_STEP = 0.02
_MOST_OF_STEP = 0.1
_MAX_TILT_DEGREES = 0.5


@dataclass(frozen=True, eq=False)
class Stack:
    """The slices of one series as a grid.

    Attributes:
        slices: along the slice normal, one for each k.
        affine: (4, 4) float64, voxel index (i along columns, j along rows, k along the slices) to RAS+ mm. It is
            sheared where the gantry was tilted.
        shape: (I, J, K).
        uid: the SeriesInstanceUID.
        frame_of_reference_uid: "" if the slices name none.
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray
    shape: tuple[int, int, int]
    uid: str
    frame_of_reference_uid: str


def read_stack(path: str | Path, *, series: str | None = None) -> Stack:
    """Return the stack of the one series in a folder, a zip, or that a file belongs to, from headers alone.

    Args:
        path: a folder (with sub-folders), one file of a series, or a zip. The files of a zip are gone on return.
        series: key, SeriesInstanceUID or description of the series meant, where there are several.

    Raises:
        MedganError: if no one series can be chosen, or its slices are no regular grid.
    """
    with scan(path) as found:
        return stack_of(choose_series(found, where=str(path), series=series), where=str(path))


def stack_of(series: Series, *, where: str) -> Stack:
    """Return the slices of a series in order, and their affine.

    A tilted gantry leaves the affine sheared, exactly as scanned, with a warning.

    Raises:
        MedganError: if slices differ in size, orientation or spacing, repeat a position, leave a gap, are unevenly
            spaced (more than 0.05 mm or 2 %) or out of line; if they are of several patients or frames of reference;
            or if a header lacks geometry.
    """
    where = f"series in {where}"
    _check_one_source(where, series)
    found = series.slices or [each for file in series.files for each in slices_of(file)]
    _check_alike(where, found)
    slices = _sorted(where, found)
    affine = _affine_of(where, slices)
    shape = (*slices[0].size, len(slices))
    return Stack(tuple(slices), lps_to_ras(affine), shape, series.uid, series.frame_of_reference_uid)


def _check_one_source(where: str, series: Series) -> None:
    for keyword, what in (
        ("PatientID", "patient"),
        ("StudyInstanceUID", "study"),
        ("FrameOfReferenceUID", "frame of reference"),
    ):
        if len({file.text(keyword) for file in series.files}) > 1:
            raise MedganError(f"{where} mixes slices of more than one {what} in one series; separate them.")
    first_of: dict[str, Path] = {}
    for file in series.files:
        first = first_of.setdefault(file.text("SOPInstanceUID") or file.name, file.path)
        if first != file.path:
            raise MedganError(
                f"{file.name} and {first.name} are duplicates by SOPInstanceUID but differ; remove one of them."
            )


def _check_alike(where: str, slices: Sequence[Slice]) -> None:
    _check_one(where, slices, "size", lambda s: s.size, tolerance=0)
    _check_one(where, slices, "orientation", lambda s: s.axes.ravel(), tolerance=MAX_COSINE_ERROR)
    _check_one(where, slices, "PixelSpacing", lambda s: s.spacing_mm, tolerance=1e-4)


def _check_one(
    where: str,
    slices: Sequence[Slice],
    what: str,
    key: Callable[[Slice], Sequence[float] | np.ndarray],
    *,
    tolerance: float,
) -> None:
    values = np.array([key(each) for each in slices], dtype=np.float64)
    common = np.array(Counter(map(tuple, values.tolist())).most_common(1)[0][0])
    odd = np.flatnonzero(np.abs(values - common).max(axis=1) > tolerance)
    if odd.size:
        names = ", ".join(slices[n].short_name for n in odd[:5])
        raise MedganError(
            f"{where}: all slices must have one {what}, most have {_short(common)}, but {names} "
            f"{'has' if odd.size == 1 else f'({odd.size} in all) have'} {_short(values[odd[0]])}; move it away."
        )


def _sorted(where: str, slices: Sequence[Slice]) -> list[Slice]:
    """Return the slices by position along the normal, once the steps between them are even."""
    normal = slices[0].normal
    ordered = sorted(slices, key=lambda s: float(s.position @ normal))
    _check_repeated(where, ordered)
    if len(ordered) > 1:
        _check_steps(where, np.array([s.position @ normal for s in ordered]))
    return ordered


def _check_repeated(where: str, ordered: Sequence[Slice]) -> None:
    numbers = positions_of(ordered)
    repeated = np.flatnonzero(np.diff(numbers) == 0)
    if not repeated.size:
        return
    a, b = ordered[repeated[0]], ordered[repeated[0] + 1]
    at_mm = float(a.position @ ordered[0].normal)
    counts = np.bincount(numbers)
    if counts.min() > 1:
        each = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
        raise MedganError(
            f"{where}: holds {each} images at each of {counts.size} positions (4D: time points, echoes or duplicates), "
            f"as {a.short_name} and {b.short_name} at the same position, {at_mm:g} mm, and nothing in their headers "
            "tells the stacks apart; keep one slice per position, or export one time point as a series of its own."
        )
    raise MedganError(
        f"{where}: {a.short_name} and {b.short_name} lie at the same position, {at_mm:g} mm (duplicates? "
        f"{repeated.size} in all); keep one slice per position."
    )


def _check_steps(where: str, along: np.ndarray) -> None:
    """Refuse a gap, and steps that are not even, for positions in order along the normal."""
    steps = np.diff(along)
    step = float(steps.min())
    multiples = np.rint(steps / step)
    if (np.abs(steps - multiples * step) <= _tolerance_mm(step) * multiples).all() and multiples.max() > 1:
        gaps = np.flatnonzero(multiples > 1)
        found = ", ".join(f"between {along[n]:g} and {along[n + 1]:g} mm" for n in gaps[:5])
        more = f" and {gaps.size - 5} more" if gaps.size > 5 else ""
        raise MedganError(f"{where}: slice missing {found}{more} (step {step:g} mm); fetch the series again.")
    even = np.linspace(along[0], along[-1], along.size)
    if np.abs(along - even).max() > _tolerance_mm(float(steps.mean())):
        low, high = int(steps.argmin()), int(steps.argmax())
        raise MedganError(
            f"{where}: slices must be evenly spaced, found a step of {steps[low]:g} mm at {along[low]:g} mm "
            f"and of {steps[high]:g} mm at {along[high]:g} mm; resample it to even spacing first."
        )


def _affine_of(where: str, slices: Sequence[Slice]) -> np.ndarray:
    """Return the LPS affine; k is the mean step between slices, so that what shear rounding leaves is kept."""
    first = slices[0]
    affine = np.eye(4)
    affine[:3, :2] = first.axes * first.spacing_mm
    affine[:3, 3] = first.position
    if len(slices) == 1:
        thickness = first.header.numbers("SliceThickness", 1)[0]
        if thickness <= 0:
            raise MedganError(f"{first.header.name} must have a SliceThickness above zero, found {thickness:g}.")
        affine[:3, 2] = first.normal * thickness
        return affine
    affine[:3, 2] = step = (slices[-1].position - first.position) / (len(slices) - 1)
    _check_in_line(where, slices, affine)
    tilt = np.degrees(np.arccos(min(1.0, float(step @ first.normal / np.linalg.norm(step)))))
    if tilt > _MAX_TILT_DEGREES:
        warnings.warn(
            f"{where}: slices are sheared by {tilt:.1f} degrees (gantry tilt); the sheared grid is kept as scanned, "
            "and resampled to a straight one in preprocessing.",
            stacklevel=4,
        )
    return affine


def _check_in_line(where: str, slices: Sequence[Slice], affine: np.ndarray) -> None:
    """Refuse a slice of which the first pixel, or another corner, is not where the affine puts it."""
    last = np.array(slices[0].size) - 1
    corners = np.array([[0, 0], [last[0], 0], [0, last[1]], last])
    numbers = np.arange(len(slices))
    found = np.array([s.position + corners @ (s.axes * s.spacing_mm).T for s in slices])
    expected = affine[:3, 3] + corners @ affine[:3, :2].T + np.outer(numbers, affine[:3, 2])[:, None]
    off_mm = np.linalg.norm(found - expected, axis=2)
    k, corner = np.unravel_index(off_mm.argmax(), off_mm.shape)
    if off_mm[k, corner] > _tolerance_mm(float(np.linalg.norm(affine[:3, 2]))):
        what = "position" if off_mm[k, 0] > off_mm[k, corner] / 2 else "orientation or PixelSpacing"
        raise MedganError(
            f"{where}: slices must lie in one line, but the {what} of {slices[k].short_name} is "
            f"{off_mm[k, corner]:.3g} mm off at one of its corners; fetch the series again."
        )


def _tolerance_mm(step_mm: float) -> float:
    """Return how far a slice may be off its place: what scanners round, but never much of a step."""
    return min(max(_TOLERANCE_MM, _TOLERANCE_OF_STEP * step_mm), _MOST_OF_STEP * step_mm)


def _short(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.5g}" for v in values) + ")"
