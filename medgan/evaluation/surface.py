"""Distances between the surfaces of two masks, in mm, by either of the two published definitions of a surface.

What lies outside the volume is outside the mask, in both.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from medgan.evaluation.nearest import nearest_distances_mm
from medgan.evaluation.surface_elements import element_areas, element_codes

Surface = Literal["area", "voxels"]

SURFACES: dict[Surface, str] = {
    "area": "surface elements at the corners between voxels, each weighted by its area (marching cubes), as in "
    "DeepMind's surface-distance",
    "voxels": "boundary voxels, those of the mask with a face neighbour outside of it, each counted once, as in MONAI "
    "and medpy",
}

# Distances on a grid fall exactly on round tolerances. Affines come from float32 headers; without this allowance a
# spacing of 1.0000001 mm would move every surface element two steps away out of a tolerance of 2 mm.
_ROUNDING_MM = 1e-5


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """The distance of every surface element of each mask to the surface of the other, in mm.

    Attributes:
        to_prediction_mm: one distance per element of the reference's surface; infinite if the prediction is empty.
        to_reference_mm: one distance per element of the prediction's surface; infinite if the reference is empty.
        weights: the area of each element of the reference's and of the prediction's surface (mm², or the length of an
            outline in mm); None counts each element once.
    """

    to_prediction_mm: np.ndarray
    to_reference_mm: np.ndarray
    weights: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def both_exist(self) -> bool:
        """Whether there are distances from either surface: both masks have one, and it can be measured from."""
        return self.to_prediction_mm.size > 0 and self.to_reference_mm.size > 0

    def percentile_mm(self, percentile: float) -> float:
        """Return the larger of the two directed percentiles (0 to 100); NaN if there is not one of each.

        With areas, the smallest distance within which that share of the area lies, as DeepMind has it; without, the
        linear percentile, as MONAI has it. medpy takes the percentile of both directions pooled.
        """
        if not self.both_exist:
            return math.nan
        if self.weights is None:
            return max(float(np.percentile(d, percentile)) for d in (self.to_prediction_mm, self.to_reference_mm))
        places = [min(int(np.searchsorted(shares, percentile / 100)), d.size - 1) for d, shares in self._sorted]
        return max(float(d[place]) for place, (d, _) in zip(places, self._sorted, strict=True))

    @property
    def hausdorff_mm(self) -> float:
        """The largest distance of either direction; NaN if there are not both directions."""
        if not self.both_exist:
            return math.nan
        return float(max(self.to_prediction_mm.max(), self.to_reference_mm.max()))

    @property
    def assd_mm(self) -> float:
        """The average symmetric surface distance, over both surfaces together; NaN if there are not both directions."""
        if not self.both_exist:
            return math.nan
        return self._share_of_both(self.to_prediction_mm, self.to_reference_mm)

    def surface_dice(self, tolerance_mm: float) -> float:
        """Return the share of both surfaces within `tolerance_mm` of the other, 0 to 1.

        One mask empty: 0. Both empty: NaN. With elements of one surface alone, the share of these.
        """
        if not self.to_prediction_mm.size and not self.to_reference_mm.size:
            return math.nan
        limit = tolerance_mm + _ROUNDING_MM
        return self._share_of_both(self.to_prediction_mm <= limit, self.to_reference_mm <= limit)

    def _share_of_both(self, of_reference: np.ndarray, of_prediction: np.ndarray) -> float:
        """Return the mean over the elements of both surfaces, weighted by area if there are areas."""
        if self.weights is None:
            return float((of_reference.sum() + of_prediction.sum()) / (of_reference.size + of_prediction.size))
        total = self.weights[0].sum() + self.weights[1].sum()
        return float(((of_reference * self.weights[0]).sum() + (of_prediction * self.weights[1]).sum()) / total)

    @cached_property
    def _sorted(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The distances in ascending order, of either direction, and the share of the area up to each."""
        assert self.weights is not None
        found = []
        for distances, areas in zip((self.to_prediction_mm, self.to_reference_mm), self.weights, strict=True):
            order = np.lexsort((areas, distances))  # as DeepMind sorts, so that rounding falls alike
            shares = np.cumsum(areas[order]) / areas[order].sum()
            found.append((distances[order], shares))
        return found


def surface_distances(
    reference: np.ndarray,
    prediction: np.ndarray,
    affine: np.ndarray,
    *,
    surface: Surface,
    flat_axes: tuple[int, ...] = (),
    counted: np.ndarray | None = None,
) -> SurfaceDistances:
    """Return the distances between the surfaces of two masks.

    Crop the masks to what they cover together: it saves time and changes nothing. With `counted`, leave a margin of one
    voxel where the volume goes on.

    Args:
        reference: bool, axes (I, J, K).
        prediction: likewise, of the same shape.
        affine: (4, 4), voxel index to mm; may be oblique, left-handed or sheared.
        surface: one of `SURFACES`.
        flat_axes: axes along which there is no surface, see `flat_axes_of`.
        counted: bool, of the same shape. Surface elements that touch a voxel where it is False (boundary voxels: are
            one, or have one as a face neighbour) are not measured from; they can still be what others are near to. If
            one mask is empty, nothing is near to it, whatever counts.

    Example:
        >>> distances = surface_distances(reference, prediction, affine, surface="area")
        >>> distances.percentile_mm(95)
        2.0
    """
    matrix = _with_unit_normals(affine[:3, :3], flat_axes)
    find, find_touching = _FINDERS[surface]
    elements = [find(mask, flat_axes=flat_axes) for mask in (reference, prediction)]
    places = [np.flatnonzero(element != 0) for element in elements]
    measured = places
    if counted is not None and all(p.size for p in places):  # nothing is near to an empty mask, whatever counts
        is_left_out = find_touching(~counted, flat_axes=flat_axes).reshape(-1) != 0
        measured = [p[~is_left_out[p]] for p in places]
    weights = None
    if surface == "area":
        areas = element_areas(matrix)
        of_reference, of_prediction = (areas[e.reshape(-1)[p]] for e, p in zip(elements, measured, strict=True))
        weights = of_reference, of_prediction
    shape = elements[0].shape
    return SurfaceDistances(
        to_prediction_mm=nearest_distances_mm(measured[0], places[1], shape=shape, matrix=matrix),
        to_reference_mm=nearest_distances_mm(measured[1], places[0], shape=shape, matrix=matrix),
        weights=weights,
    )


def flat_axes_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of a volume that have a single voxel: a 2D image has its surface, an outline, in the plane."""
    flat = tuple(axis for axis, size in enumerate(shape) if size == 1)
    return flat if len(flat) < len(shape) else ()


def boundary(mask: np.ndarray, *, flat_axes: tuple[int, ...] = ()) -> np.ndarray:
    """Return the voxels of `mask` with a face neighbour outside of it; beyond the array is outside.

    Args:
        mask: bool, axes (I, J, K).
        flat_axes: axes along which neighbours are not looked at.
    """
    inner = mask.copy()
    for axis in set(range(mask.ndim)) - set(flat_axes):
        kept, neighbour = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        kept[1:] &= neighbour[:-1]
        kept[:-1] &= neighbour[1:]
        kept[0] = kept[-1] = False
    edge: np.ndarray = mask ^ inner
    return edge


def _touching_voxels(mask: np.ndarray, *, flat_axes: tuple[int, ...]) -> np.ndarray:
    """Return the voxels of `mask` and their face neighbours."""
    grown = mask.copy()
    for axis in set(range(mask.ndim)) - set(flat_axes):
        kept, neighbour = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        kept[1:] |= neighbour[:-1]
        kept[:-1] |= neighbour[1:]
    return grown


def _surface_elements(mask: np.ndarray, *, flat_axes: tuple[int, ...]) -> np.ndarray:
    """Return the codes of the surface elements, 0 where there is none."""
    codes = element_codes(mask, flat_axes=flat_axes)
    codes *= codes != 255
    return codes


# By definition: how to find the elements of a mask's surface, and all elements that touch a voxel of a mask.
_Finder = Callable[..., np.ndarray]
_FINDERS: dict[Surface, tuple[_Finder, _Finder]] = {
    "area": (_surface_elements, element_codes),
    "voxels": (boundary, _touching_voxels),
}


def _with_unit_normals(matrix: np.ndarray, flat_axes: tuple[int, ...]) -> np.ndarray:
    """Return the (3, 3) matrix with 1 mm at right angles to the others along every flat axis."""
    full = matrix.copy()
    if flat_axes:
        others = [axis for axis in range(3) if axis not in flat_axes]
        full[:, list(flat_axes)] = np.linalg.svd(matrix[:, others])[0][:, len(others) :]
    return full
