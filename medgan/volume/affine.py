"""Geometry as pure functions on (4, 4) affines, voxel index to millimetres.

RAS+ everywhere: x grows to the patient's right, y to the front (anterior), z to the head (superior). DICOM and ITK use
LPS; `lps_to_ras` is the only place where the two meet.
"""

from collections.abc import Sequence

import numpy as np
from nibabel.orientations import aff2axcodes, io_orientation

from medgan.errors import MedganError

_FLIP_XY = np.diag([-1.0, -1.0, 1.0, 1.0])
_LONGEST_AXIS_MM = 1e4
_FARTHEST_ORIGIN_MM = 1e5


def lps_to_ras(affine: np.ndarray) -> np.ndarray:
    """Return an LPS affine as RAS+, or the reverse: the two differ in the sign of x and y."""
    with _numbers_of_strangers():
        return _FLIP_XY @ np.asarray(affine, dtype=np.float64)


def affine_from_parts(origin: Sequence[float], directions: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Return the (4, 4) affine of a first voxel's position, (3, 3) unit axis columns and a spacing in mm."""
    affine, columns = np.eye(4), np.asarray(directions, dtype=np.float64).reshape(3, 3)
    with _numbers_of_strangers():
        affine[:3, :3] = columns * np.asarray(spacing_mm, dtype=np.float64)
    affine[:3, 3] = origin
    return affine


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the lengths of the voxel axes in mm."""
    i, j, k = np.linalg.norm(affine[:3, :3], axis=0)
    return float(i), float(j), float(k)


def orientation_of(affine: np.ndarray) -> str:
    """Return the patient directions i, j and k point to, such as "RAS" (nearest axes for an oblique affine)."""
    return "".join(aff2axcodes(affine))


def nearest_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return how to lay a grid along R, A, S without resampling: `(order, flips)`.

    Axis n of the laid-out array is axis `order[n]` of the source, reversed where `flips[n]`.
    """
    orientation = io_orientation(affine)
    order = [int(np.flatnonzero(orientation[:, 0] == world)[0]) for world in range(3)]
    flips = [bool(orientation[axis, 1] < 0) for axis in order]
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])


def check_affine(affine: np.ndarray) -> None:
    """Raise `MedganError` unless `affine` is a finite (4, 4) matrix whose voxel axes span space, of a scanner's size.

    Metres or micrometres taken for millimetres pass; the 1e30 of a damaged header does not.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise MedganError(f"affine must be a finite (4, 4) matrix, found {affine.tolist()}.")
    if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
        raise MedganError(f"the last row of an affine must be (0, 0, 0, 1), found {affine[3].tolist()}.")
    with _numbers_of_strangers():
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths > _LONGEST_AXIS_MM).any() or (np.abs(affine[:3, 3]) > _FARTHEST_ORIGIN_MM).any():
        size, origin = (", ".join(f"{x:.4g}" for x in numbers) for numbers in (lengths, affine[:3, 3]))
        raise MedganError(
            f"voxels must be at most {_LONGEST_AXIS_MM:g} mm long and begin within {_FARTHEST_ORIGIN_MM:g} mm of 0, "
            f"found a size of ({size}) mm and a first voxel at ({origin}) mm: no scanner has this."
        )
    if (lengths < 1e-6).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise MedganError(f"the axes of an affine must span space, found the columns {affine[:3, :3].T.tolist()}.")


def _numbers_of_strangers() -> np.errstate:
    """Let arithmetic on what a damaged header holds give inf or nan without a warning; `check_affine` refuses them."""
    return np.errstate(over="ignore", invalid="ignore")
