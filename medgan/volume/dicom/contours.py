"""Between contours and voxels: filling contours by the even-odd rule, and tracing masks so that filling undoes it.

Both work in the voxel coordinates of a grid, (i, j) within planes of constant k, where a voxel's centre has whole
coordinates. A voxel is inside if its centre is.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from skimage.measure import find_contours

MAX_COORDINATE = 2**19
"""How far from the first voxel a contour may reach, in voxels; below it every sum in `fill` is exact in 64 bits."""

_UNITS = 1024  # vertices are rounded to so many parts of a voxel
_CHUNK = 2**18  # crossings at a time, which bounds memory

Box = tuple[slice, slice, slice]


def box_of(points: np.ndarray, sizes: np.ndarray, planes: np.ndarray, shape: tuple[int, int, int]) -> Box:
    """Return the smallest box of a grid of this shape that can hold what `fill` marks; it may be empty."""
    box = []
    for axis, values in enumerate((points[:, 0], points[:, 1], planes[sizes > 0])):
        low, high = (math.ceil(values.min()), math.floor(values.max())) if values.size else (0, -1)
        start = min(max(low, 0), shape[axis])
        box.append(slice(start, max(min(high + 1, shape[axis]), start)))
    return box[0], box[1], box[2]


def num_crossings(points: np.ndarray, *, num_j: int) -> float:
    """Return about how often contours cross a line of voxels in a grid of `num_j` lines: the work that `fill` has.

    At least half the true number: it leaves out the step from the last vertex of a contour to its first.
    """
    return float(np.abs(np.diff(np.clip(points[:, 1], 0, num_j))).sum())


def fill(points: np.ndarray, sizes: np.ndarray, planes: np.ndarray, *, box: Box) -> np.ndarray:
    """Return a bool mask of `box` with the voxels whose centres are inside an odd number of contours of their plane.

    A hole is a contour within another, or part of one that runs in and out along a keyhole. Vertices are rounded to
    1/1024 voxel, then all arithmetic is exact: of two contours with an edge in common, every voxel there belongs to
    one and only one. A centre on an edge belongs to the contour that lies toward growing i (or j, along the edge).

    Args:
        points: (N, 2) voxel coordinates (i, j) of the vertices of all contours, one contour after the other.
        sizes: number of vertices of each contour; the last vertex is joined to the first.
        planes: the k of each contour.
        box: the part of the grid to fill, as from `box_of`.
    """
    num_i, num_j, num_k = (each.stop - each.start for each in box)
    toggles = np.zeros((num_k, num_j, num_i), np.uint8)  # where inside and outside change along i
    first = np.array([each.start for each in box])
    start, end = _edges((np.rint((points - first[:2]) * _UNITS)).astype(np.int64), sizes)
    low, high = _rows_crossed(start, end, num_j)
    k = np.repeat(planes - first[2], sizes)
    counts = np.where((k >= 0) & (k < num_k), np.maximum(high - low, 0), 0)
    for part in _chunks(counts):
        repeats = counts[part]
        edge = np.repeat(np.arange(part.start, part.stop), repeats)
        j = low[edge] + np.arange(edge.size) - np.repeat(np.cumsum(repeats) - repeats, repeats)
        i = np.maximum(_first_inside(start[edge], end[edge], j), 0)
        kept = i < num_i
        np.add.at(toggles.reshape(-1), ((k[edge] * num_j + j) * num_i + i)[kept], 1)
    np.bitwise_and(toggles, 1, out=toggles)
    np.bitwise_xor.accumulate(toggles, axis=2, out=toggles)
    return toggles.view(bool).transpose(2, 1, 0)


def trace(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Yield closed contours around a bool mask (I, J), as (N, 2) voxel coordinates without the closing vertex.

    The vertices lie halfway between a marked voxel and its unmarked neighbour, so every centre is at least 0.35
    voxels from the contour, and `fill` gives back the mask itself. Marked voxels that touch by a corner alone have
    contours of their own. Holes are joined to the contour around them by keyholes: some readers take the union of
    contours, and would fill a hole that has a contour of its own.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return
    part = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    outlines = [outline[:-1] for outline in find_contours(part.astype(np.float32), 0.5)]
    if any(_is_hole(outline) for outline in outlines):
        outlines = _with_keyholes(outlines, part)
    for outline in outlines:
        yield _corners_of(outline) + (rows[0] - 1, columns[0] - 1)  # noqa: RUF005 - a sum of arrays


def _edges(vertices: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end of every edge, (N, 2) each, with the start's j the lower one."""
    following = np.arange(1, len(vertices) + 1)
    ends = np.cumsum(sizes)
    following[ends[sizes > 0] - 1] = (ends - sizes)[sizes > 0]
    start, end = vertices, vertices[following]
    is_down = (start[:, 1] > end[:, 1])[:, None]
    return np.where(is_down, end, start), np.where(is_down, start, end)


def _rows_crossed(start: np.ndarray, end: np.ndarray, num_j: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first j each edge crosses, and the one after the last: its upper end is not its own."""
    return np.clip(-(-start[:, 1] // _UNITS), 0, num_j), np.clip(-(-end[:, 1] // _UNITS), 0, num_j)


def _first_inside(start: np.ndarray, end: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the first i at or behind where each edge crosses its row j; rounded up by whole-number division."""
    di, dj = (end - start).T
    first: np.ndarray = -(-(start[:, 0] * dj + (j * _UNITS - start[:, 1]) * di) // (dj * _UNITS))
    return first


def _chunks(counts: np.ndarray) -> Iterator[slice]:
    """Yield runs of edges with about `_CHUNK` crossings each, so that memory does not grow with their number."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, done + _CHUNK, side="right")), start + 1)
        yield slice(start, stop)
        start = stop


def _is_hole(outline: np.ndarray) -> bool:
    """Return whether an outline of `find_contours` goes around unmarked voxels, by the sense in which it turns."""
    following = np.roll(outline, -1, axis=0)
    return bool((outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum() > 0)


def _with_keyholes(outlines: Sequence[np.ndarray], mask: np.ndarray) -> list[np.ndarray]:
    """Return the outer outlines, each with the holes within it on its way.

    From the first vertex of a hole, at (i, j - 1/2), a keyhole runs toward smaller i, between two rows of voxels that
    are marked there, to the next outline: the one around, or another hole's. As it runs there and back, it encloses
    nothing and crosses no centre.
    """
    rings = _Rings(outlines)
    keyholes = []
    for outline in filter(_is_hole, outlines):
        i, j = min(outline.tolist(), key=lambda point: (point[1], point[0]))
        keyholes.append((rings.end_of_keyhole(int(i), j, mask), rings.node_of[i, j]))
    for end, hole in keyholes:
        rings.join(end, hole)
    return [rings.ring(rings.node_of[tuple(outline[0])]) for outline in outlines if not _is_hole(outline)]


class _Rings:
    """Closed outlines as vertices that each know the one that follows, so that outlines can be joined."""

    def __init__(self, outlines: Sequence[np.ndarray]) -> None:
        self._points = [(i, j) for outline in outlines for i, j in outline.tolist()]
        self._following = list(range(1, len(self._points) + 1))
        end = 0
        for outline in outlines:
            start, end = end, end + len(outline)
            self._following[end - 1] = start
        self.node_of = {point: node for node, point in enumerate(self._points)}

    def end_of_keyhole(self, i: int, j: float, mask: np.ndarray) -> int:
        """Return the vertex where a keyhole from (i, j) meets the next outline; it is made if there is none."""
        low = int(j - 0.5)
        last = int(np.flatnonzero(~(mask[:i, low] & mask[:i, low + 1]))[-1])
        if (last, j) in self.node_of:
            return self.node_of[last, j]
        start, end = self.node_of[last + 0.5, low], self.node_of[last + 0.5, low + 1]
        if self._following[start] != end:
            start, end = end, start
        self._following[start] = self._add((last + 0.5, j), following=end)
        return self._following[start]

    def join(self, end: int, hole: int) -> None:
        """Lead the way from vertex `end` to a copy of vertex `hole`, around that hole, and back to a copy of `end`."""
        there = self._add(self._points[hole], following=self._following[hole])
        back = self._add(self._points[end], following=self._following[end])
        self._following[end], self._following[hole] = there, back

    def ring(self, first: int) -> np.ndarray:
        """Return the vertices from the first until it comes again, (N, 2)."""
        nodes = [first]
        while (node := self._following[nodes[-1]]) != first:
            nodes.append(node)
        return np.array([self._points[node] for node in nodes])

    def _add(self, point: tuple[float, float], *, following: int) -> int:
        self._points.append(point)
        self._following.append(following)
        return len(self._points) - 1


def _corners_of(outline: np.ndarray) -> np.ndarray:
    """Leave out the vertices of a closed outline that lie on the way between their neighbours."""
    arriving = outline - np.roll(outline, 1, axis=0)
    leaving = np.roll(outline, -1, axis=0) - outline
    turns = arriving[:, 0] * leaving[:, 1] - arriving[:, 1] * leaving[:, 0]
    is_back = (arriving * leaving).sum(axis=1) < 0
    corners: np.ndarray = outline[(turns != 0) | is_back]
    return corners
