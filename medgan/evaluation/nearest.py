"""How far it is from each of many points of a grid to the nearest of others: exactly, by whichever way is quickest.

Surfaces that agree well are a few voxels apart: there, looking around each point is quickest. Far away, going through
the planes of the grid costs less, or, for few points or on a sheared grid, a k-d tree of the targets.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial import cKDTree

from medgan.evaluation.nearest_in_planes import distances_in_planes_mm, planes_us

# What two of the three ways take in us, measured on organs of 0.1 to 10 million voxels. A k-d tree visits every target
# that is about as far away as the nearest one: 2 to 50 us per point.
_LOOK_US, _LOOKS_PER_CALL = 0.0015, 1500  # per row of a point looked at; calling numpy takes as long as so many looks
_TREE_US, _TREE_US_PER_TARGET = 25.0, 0.13  # per point, and to build it
_LEAF_SIZE = 64

_PATIENCE = 3
_WIDEST_LOOK = 24  # steps; the grid is copied with as much free room at its ends
_POINTS_AT_ONCE = 1 << 14  # their part of the grid stays in the processor's cache
_RIGHT_ANGLE = 1e-6  # cosine


def nearest_distances_mm(
    sources: np.ndarray, targets: np.ndarray, *, shape: tuple[int, ...], matrix: np.ndarray
) -> np.ndarray:
    """Return the distance from each source to the nearest target in mm; infinite if there is no target.

    Args:
        sources: flat indices of elements of the grid.
        targets: likewise.
        shape: size (I, J, K) of the grid.
        matrix: (3, 3), index to mm; may be oblique, left-handed or sheared.
    """
    if not sources.size or not targets.size:
        return np.full(sources.size, np.inf)
    points, targets = (np.stack(np.unravel_index(places, shape)) for places in (sources, targets))
    distances, complete_mm = _look_around(points, targets, shape, matrix)
    far = np.flatnonzero(distances > complete_mm)
    if far.size:
        distances[far] = _far_distances_mm(points[:, far], targets, shape, matrix)
    return distances


def _look_around(
    points: np.ndarray, targets: np.ndarray, shape: tuple[int, ...], matrix: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the distance of each point to the nearest target found, and up to which distance none is overlooked.

    Every element is told how far the next target of its row is. Then, instead of all neighbours of a point, only the
    rows around it need a look, beginning with the closest.
    """
    axis = _axis_of_rows(matrix, shape)
    if axis is None:
        return np.full(points.shape[1], np.inf), 0.0
    across = [n for n in range(3) if n != axis]
    by_planes_us = planes_us(points, targets, shape)
    radius_mm = _worthwhile_radius_mm(points.shape[1], by_planes_us, matrix[:, across])
    offsets = _offsets_within(radius_mm, matrix[:, across], [shape[n] for n in across])
    rows = _steps_along_rows(targets, shape, axis, room=np.abs(offsets).max(axis=1))
    strides = np.array(rows.strides) // rows.itemsize
    rings = _Rings(np.linalg.norm(matrix[:, across] @ offsets, axis=0), strides[across] @ offsets)
    squares = (np.arange(shape[axis] + 1) * np.linalg.norm(matrix[:, axis])) ** 2
    squares[-1] = np.inf
    places, flat = strides @ points, rows.reshape(-1)
    found, num_far = np.full(places.size, np.inf), 0
    for start in range(0, places.size, _POINTS_AT_ONCE):
        some = slice(start, start + _POINTS_AT_ONCE)
        found[some] = _nearest_in_rows(places[some], flat, squares, rings)
        num_far += int(np.count_nonzero(found[some] > radius_mm**2))
        if num_far and _wants_planes(num_far, targets.shape[1], by_planes_us, matrix):
            break  # which take hardly longer for all others as well
    return np.sqrt(found), radius_mm


def _axis_of_rows(matrix: np.ndarray, shape: tuple[int, ...]) -> int | None:
    """Return the axis with the smallest steps of those at right angles to the other two, or None."""
    lengths, cosines = np.linalg.norm(matrix, axis=0), _cosines(matrix)
    straight = [axis for axis in range(3) if shape[axis] > 1 and cosines[axis].max() < _RIGHT_ANGLE]
    return min(straight, key=lambda axis: round(float(lengths[axis]), 6), default=None)


def _worthwhile_radius_mm(num_points: int, by_planes_us: float, across: np.ndarray) -> float:
    """Return how far to look around: until that could have taken so many times as long as going through the planes.

    It rarely does: most points have found their target, and look no further, long before the last.
    """
    num_rows = _PATIENCE * by_planes_us / _LOOK_US / (num_points + _LOOKS_PER_CALL)
    lengths = np.linalg.norm(across, axis=0)
    return min(math.sqrt(num_rows * float(lengths.prod()) / math.pi), _WIDEST_LOOK * float(lengths.min()))


def _offsets_within(radius_mm: float, across: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return the offsets (2, n) to all rows within a radius.

    Args:
        radius_mm: the radius.
        across: (3, 2), the two axes between rows in mm.
        sizes: how many rows there are along each.
    """
    apart_mm = 1 / np.linalg.norm(np.linalg.pinv(across), axis=1)  # between neighbouring lines of rows
    reach = np.minimum(radius_mm // apart_mm, np.subtract(sizes, 1)).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij")).reshape(2, -1)
    within: np.ndarray = offsets[:, np.linalg.norm(across @ offsets, axis=0) <= radius_mm]
    return within


class _Rings:
    """The rows around a point by distance: yields each squared distance with the steps to all rows that far away."""

    def __init__(self, distances_mm: np.ndarray, steps: np.ndarray) -> None:
        order = np.argsort(distances_mm)
        self.distances_mm, self.steps = distances_mm[order], steps[order]
        rounding = 1e-12 * self.distances_mm[-1]
        self.starts = np.flatnonzero(np.diff(self.distances_mm, prepend=-1.0) > rounding).tolist()

    def __iter__(self) -> Iterator[tuple[float, list[int]]]:
        for start, stop in zip(self.starts, [*self.starts[1:], self.steps.size], strict=True):
            yield float(self.distances_mm[start]) ** 2, self.steps[start:stop].tolist()


def _steps_along_rows(targets: np.ndarray, shape: tuple[int, ...], axis: int, *, room: Sequence[int]) -> np.ndarray:
    """Return how many steps along its row each element is away from a target; the length of the row if it has none.

    The result has free room at the end of the other two axes: an offset from a point that leaves the grid leads there.
    """
    length = shape[axis]
    sizes = np.array(shape) + np.insert(np.asarray(room), axis, 0)
    steps = np.full(sizes, length, np.min_scalar_type(length + 1))
    steps[tuple(targets)] = 0
    planes = np.moveaxis(steps[tuple(map(slice, shape))], axis, 0)
    for order in (planes, planes[::-1]):
        for before, plane in itertools.pairwise(order):
            np.minimum(plane, before + 1, out=plane)
    return steps


def _nearest_in_rows(places: np.ndarray, rows: np.ndarray, squares: np.ndarray, rings: _Rings) -> np.ndarray:
    """Return the squared distance of each place to the nearest target in the rows of `rings`."""
    best = squares.take(rows.take(places))
    left, best_left = np.arange(places.size), best
    for apart, steps in itertools.islice(rings, 1, None):
        is_open = best_left > apart
        if np.count_nonzero(is_open) < 0.9 * left.size:  # sorting out costs about as much as a look
            best[left] = best_left
            still = np.flatnonzero(is_open)
            if not still.size:
                return best
            left, places, best_left = left.take(still), places.take(still), best_left.take(still)
        along = rows.take(places + steps[0])
        for step in steps[1:]:
            np.minimum(along, rows.take(places + step), out=along)
        best_left = np.minimum(best_left, squares.take(along) + apart)
    best[left] = best_left
    return best


def _far_distances_mm(
    points: np.ndarray, targets: np.ndarray, shape: tuple[int, ...], matrix: np.ndarray
) -> np.ndarray:
    if _wants_planes(points.shape[1], targets.shape[1], planes_us(points, targets, shape), matrix):
        return distances_in_planes_mm(points, targets, shape=shape, lengths_mm=np.linalg.norm(matrix, axis=0))
    tree = cKDTree(targets.T @ matrix.T, leafsize=_LEAF_SIZE, balanced_tree=False, compact_nodes=False)
    found: np.ndarray = tree.query(points.T @ matrix.T)[0]
    return found


def _wants_planes(num_points: int, num_targets: int, by_planes_us: float, matrix: np.ndarray) -> bool:
    """Return whether the axes are at right angles, and going through planes takes less time than a tree."""
    tree_us = num_points * _TREE_US + num_targets * _TREE_US_PER_TARGET
    return by_planes_us < tree_us and bool(_cosines(matrix).max() < _RIGHT_ANGLE)


def _cosines(matrix: np.ndarray) -> np.ndarray:
    """Return how far from a right angle each axis is to each other."""
    lengths = np.linalg.norm(matrix, axis=0)
    cosines: np.ndarray = np.abs(matrix.T @ matrix / np.outer(lengths, lengths) - np.eye(3))
    return cosines
