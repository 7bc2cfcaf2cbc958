"""How far it is from many points of a grid to the nearest of others, where most are far: exactly, axis by axis.

The squared distance on a grid at right angles is a sum over the axes, so it can be made least along one after the
other, as distance maps are made (Felzenszwalb and Huttenlocher 2012). A map holds every element of the grid; here only
planes and rows with a target in them are gone through, for the points' own part of the grid, and planes too far to
matter are left out. Between two surfaces that takes a half to a twentieth of the time of a map, and the memory of a few
planes.
"""

import itertools

import numpy as np

# What it takes in us, measured on organs of 0.1 to 10 million voxels.
_STEP_US, _CELL_US, _POINT_US, _ROW_US, _PLANE_US = 0.0004, 0.005, 0.004, 1.0, 60.0
_STEPS_PER_CHECK = 16

_Order = tuple[int, int, int]
"""The axes across planes, across the rows of a plane, and along rows."""


def distances_in_planes_mm(
    points: np.ndarray, targets: np.ndarray, *, shape: tuple[int, ...], lengths_mm: np.ndarray
) -> np.ndarray:
    """Return the distance from each point to the nearest target in mm.

    Args:
        points: indices (3, n) of elements of the grid.
        targets: likewise, at least one.
        shape: size (I, J, K) of the grid.
        lengths_mm: of the steps along each axis, at right angles to each other.
    """
    _, (across, between, along) = _quickest_order(points, targets, shape)
    squares = [(np.arange(size) * mm) ** 2 for size, mm in zip(shape, lengths_mm, strict=True)]
    (row, cell), (num_rows, num_cells) = _box_of(points[[between, along]])
    places = (points[between] - row) * num_cells + points[along] - cell
    targets = targets[:, np.argsort(targets[across], kind="stable")]
    planes, starts = np.unique(targets[across], return_index=True)
    parts = np.split(targets[[between, along]], starts[1:], axis=1)
    gaps = np.maximum(0, np.maximum(points[across].min() - planes, planes - points[across].max()))
    best = np.full(places.size, np.inf)
    for n in np.argsort(gaps, kind="stable").tolist():
        if gaps[n] and squares[across][gaps[n]] >= best.max():
            break
        (first, _), _ = _box_of(parts[n])
        in_rows = _squares_along_rows(parts[n], squares[along], slice(cell, cell + num_cells))
        in_plane = _least_between_rows(in_rows, squares[between], first=first - row, num_rows=num_rows)
        found = in_plane.reshape(-1).take(places)
        found += squares[across].take(np.abs(points[across] - planes[n]))
        np.minimum(best, found, out=best)
    return np.sqrt(best)


def planes_us(points: np.ndarray, targets: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return how long that takes in us."""
    return _quickest_order(points, targets, shape)[0]


def _quickest_order(points: np.ndarray, targets: np.ndarray, shape: tuple[int, ...]) -> tuple[float, _Order]:
    (_, of_points), (_, of_targets) = _box_of(points), _box_of(targets)
    orders = []
    for across, between, along in itertools.permutations(range(3)):
        plane_us = (
            of_targets[between] * of_points[between] * of_points[along] * _STEP_US
            + of_targets[between] * shape[along] * _CELL_US
            + points.shape[1] * _POINT_US
            + (of_targets[between] + of_points[between]) * _ROW_US
            + _PLANE_US
        )
        orders.append((of_targets[across] * plane_us, (across, between, along)))
    return min(orders)


def _box_of(places: np.ndarray) -> tuple[list[int], list[int]]:
    """Return the first index and the size of the box around places (axes, n)."""
    first = places.min(axis=1)
    return first.tolist(), (places.max(axis=1) - first + 1).tolist()


def _squares_along_rows(targets: np.ndarray, squares: np.ndarray, cells: slice) -> np.ndarray:
    """Return the squared distances (rows, cells) to the nearest target in the same row, infinite where there is none.

    Args:
        targets: row and place of each (2, n); the result begins with the first row that has one.
        squares: squared distances by steps; as many as a row is long.
        cells: which part of the rows is wanted.
    """
    rows, places = targets[0] - targets[0].min(), targets[1]
    length = squares.size
    before = np.full((int(rows.max()) + 1, length), -2 * length, np.int32)
    after = np.full_like(before, 3 * length)
    before[rows, places] = after[rows, places] = places
    before = np.maximum.accumulate(before, axis=1)[:, cells]
    after = np.minimum.accumulate(after[:, ::-1], axis=1)[:, ::-1][:, cells]
    here = np.arange(length)[cells]
    steps = np.minimum(here - before, after - here)
    found: np.ndarray = np.append(squares, np.inf).take(np.minimum(steps, length))
    return found


def _least_between_rows(in_rows: np.ndarray, squares: np.ndarray, *, first: int, num_rows: int) -> np.ndarray:
    """Return the least, over the rows with targets, of the square along the row and that of the steps to it.

    One step after the other is taken from all rows at once, the shortest first, until no longer one can be of use.

    Args:
        in_rows: what `_squares_along_rows` found.
        squares: squared distances by steps between rows.
        first: steps from the first row of the result to the first of `in_rows`.
        num_rows: of the result.
    """
    least = np.full((num_rows, in_rows.shape[1]), np.inf)
    room = np.empty_like(least)
    for n, step in enumerate(sorted(range(first - num_rows + 1, first + len(in_rows)), key=abs), start=1):
        square = squares[abs(step)]
        if n % _STEPS_PER_CHECK == 0 and square >= least.max():
            break
        start, stop = max(0, first - step), min(num_rows, first + len(in_rows) - step)
        reached = np.add(in_rows[start + step - first : stop + step - first], square, out=room[: stop - start])
        np.minimum(least[start:stop], reached, out=least[start:stop])
    return least
