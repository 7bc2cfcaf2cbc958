"""From one grid to another whose voxels are the same: axes permuted, flipped and shifted, nothing resampled."""

from dataclasses import dataclass, replace

import numpy as np

from medgan.volume.affine import spacing_of
from medgan.volume.segments import Segment, Segments
from medgan.volume.volume import Volume

_TOLERANCE_MM = 0.05


@dataclass(frozen=True, eq=False)
class Turn:
    """Voxel v of one grid is voxel `axes @ v + offset` of another.

    Attributes:
        axes: (3, 3) of 0, 1 and -1, one in each row and column.
        offset: (3,) whole numbers.
    """

    axes: np.ndarray
    offset: np.ndarray

    def start(self, start: tuple[int, int, int], shape: tuple[int, ...]) -> np.ndarray:
        """Return where a box of the first grid begins in the other."""
        corners = np.array([start, np.array(start) + shape - 1])
        first: np.ndarray = (corners @ self.axes.T + self.offset).min(axis=0)
        return first

    def lay(self, box: np.ndarray) -> np.ndarray:
        """Return the voxels of a box, (I, J, K) of the first grid, with the axes of the other."""
        turned = box.transpose([int(axis) for axis in np.abs(self.axes).argmax(axis=1)])
        return turned[tuple(slice(None, None, int(sign)) for sign in self.axes.sum(axis=1))]


def turn_between(
    source: np.ndarray, shape: tuple[int, int, int], target: np.ndarray, *, tolerance_mm: float = _TOLERANCE_MM
) -> Turn | None:
    """Return how the voxels of one grid become those of another, None if they do not coincide.

    Args:
        source: (4, 4) RAS+ affine of the first grid.
        shape: its size (I, J, K).
        target: (4, 4) RAS+ affine of the other.
        tolerance_mm: how far a corner of the first grid may lie off the voxels of the other.
    """
    to_index = np.linalg.inv(target) @ source
    axes, offset = np.rint(to_index[:3, :3]), np.rint(to_index[:3, 3])
    if not ((np.abs(axes).sum(axis=0) == 1).all() and (np.abs(axes).sum(axis=1) == 1).all()):
        return None
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    off = (to_index[:3, :3] - axes) @ corners + (to_index[:3, 3] - offset)[:, None]
    if np.linalg.norm(target[:3, :3] @ off, axis=0).max() > min(tolerance_mm, 0.1 * min(spacing_of(target))):
        return None
    return Turn(axes.astype(int), offset.astype(int))


def label_on_grid_of(reference: Volume, label: Volume) -> Volume:
    """Return a label volume on the grid of `reference` if its voxels are the same, else as it is."""
    turn = turn_between(label.affine, label.shape, reference.affine)
    if turn is None or turn.start((0, 0, 0), label.shape).any():
        return label
    laid = turn.lay(label.data[0])
    return Volume(laid[None], reference.affine) if laid.shape == reference.shape else label


def segments_on_grid_of(reference: Volume, segments: Segments) -> Segments:
    """Return segments on the grid of `reference` if their voxels coincide and it holds all they mark, else as they are.

    The grid of the segments may be smaller, as files cropped to what they mark have it, or larger.
    """
    turn = turn_between(segments.affine, segments.shape, reference.affine)
    if turn is None:
        return segments
    laid = [_laid(turn, segment) for segment in segments.segments]
    for segment in laid:
        if min(segment.start) < 0 or any(part.stop > n for part, n in zip(segment.box, reference.shape, strict=True)):
            return segments
    return Segments(tuple(laid), reference.shape, reference.affine)


def _laid(turn: Turn, segment: Segment) -> Segment:
    if not segment.mask.size:
        return segment
    i, j, k = (int(n) for n in turn.start(segment.start, segment.mask.shape))
    return replace(segment, start=(i, j, k), mask=turn.lay(segment.mask))
