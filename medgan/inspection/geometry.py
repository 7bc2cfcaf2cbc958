"""A grid in the patient, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medgan.volume.affine import orientation_of, spacing_of

MAX_ANISOTROPY = 5.0
"""Largest over smallest spacing beyond which a grid is called anisotropic."""

_WAYS = {
    "R": "left to right",
    "L": "right to left",
    "A": "back to front",
    "P": "front to back",
    "S": "feet to head",
    "I": "head to feet",
}
_STRAIGHT_DEGREES = 0.05  # less is rounding in a header


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        size_voxels: (I, J, K).
        spacing_mm: distance between voxel centres along i, j, k.
        extent_mm: size times spacing.
        origin_mm: centre of the first voxel, RAS+.
        orientation: where i, j and k point, as in "LPS" (nearest patient axes).
        ways: the same in words, as in ("right to left", "front to back", "feet to head").
        oblique_degrees: largest angle between the slice's axes, or its normal, and the nearest patient axis.
        shear_degrees: how far the axes are from right angles; the angle of a gantry tilt.
    """

    size_voxels: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    orientation: str
    ways: tuple[str, str, str]
    oblique_degrees: float
    shear_degrees: float


def grid_of(shape: Sequence[int], affine: np.ndarray) -> Grid:
    """Return the grid of `shape` (I, J, K) placed by a RAS+ `affine`."""
    i, j, k = (int(n) for n in shape)
    spacing = spacing_of(affine)
    orientation = orientation_of(affine)
    first, second, third = (_WAYS[letter] for letter in orientation)
    x, y, z = affine[:3, 3].tolist()
    return Grid(
        size_voxels=(i, j, k),
        spacing_mm=spacing,
        extent_mm=(i * spacing[0], j * spacing[1], k * spacing[2]),
        origin_mm=(x, y, z),
        orientation=orientation,
        ways=(first, second, third),
        oblique_degrees=_oblique_degrees(affine),
        shear_degrees=_shear_degrees(affine),
    )


def oddities_of(grid: Grid) -> list[str]:
    """Return what is unusual about a grid, one sentence each."""
    found = []
    if grid.size_voxels[2] == 1:
        found.append("It is a single slice (K = 1).")
    elif max(grid.spacing_mm) > MAX_ANISOTROPY * min(grid.spacing_mm):
        ratio = max(grid.spacing_mm) / min(grid.spacing_mm)
        found.append(f"It is anisotropic: the largest spacing is {ratio:.1f} times the smallest.")
    if grid.shear_degrees > 0:
        found.append(f"It is sheared by {grid.shear_degrees:.1f} degrees (gantry tilt).")
    return found


def _oblique_degrees(affine: np.ndarray) -> float:
    """Measure i, j and the slice normal: k itself leans in a tilted scan whose slices are straight."""
    i, j = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (0, 1))
    normal = np.cross(i, j)
    axes = np.stack([i, j, normal / np.linalg.norm(normal)])
    return _degrees_beyond_rounding(np.arccos(np.clip(np.abs(axes).max(axis=1), -1.0, 1.0)).max())


def _shear_degrees(affine: np.ndarray) -> float:
    axes = affine[:3, :3] / spacing_of(affine)
    cosines = np.abs(axes.T @ axes)[np.triu_indices(3, k=1)]
    return _degrees_beyond_rounding(np.arcsin(np.clip(cosines.max(), -1.0, 1.0)))


def _degrees_beyond_rounding(radians: float) -> float:
    degrees = float(np.degrees(radians))
    return degrees if degrees > _STRAIGHT_DEGREES else 0.0
