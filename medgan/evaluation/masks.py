"""Masks of organs in a reference and its prediction, cut out of their class indices where the organ is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class MaskPair:
    """One organ, or several as one, cropped to what reference and prediction cover together.

    Attributes:
        reference: bool, axes (I, J, K).
        prediction: likewise.
        counted: likewise, False in voxels that are in neither mask because they do not count; None if all count.
    """

    reference: np.ndarray
    prediction: np.ndarray
    counted: np.ndarray | None


@dataclass(frozen=True, eq=False)
class ClassPair:
    """The class indices of a reference and a prediction on one grid.

    Attributes:
        reference: integers, axes (I, J, K); 0 is the background, and whatever does not count.
        prediction: likewise.
        counted: bool, of the same shape; None if all voxels count.
    """

    reference: np.ndarray
    prediction: np.ndarray
    counted: np.ndarray | None = None

    def masks_of(self, classes: Sequence[int], *, margin: Sequence[int]) -> MaskPair:
        """Return where both have one of `classes`.

        Args:
            classes: class indices.
            margin: voxels along each axis that are left around both masks where not every voxel counts: the rim of a
                mask depends on whether its neighbours count. Otherwise everything around is known to be outside.
        """
        boxes = [{c: found[c] for c in classes if c in found} for found in self._boxes]
        around = _box_around([box for side in boxes for box in side.values()])
        if self.counted is not None:
            around = tuple(slice(max(0, s.start - n), s.stop + n) for s, n in zip(around, margin, strict=True))
        shape = self.reference[around].shape
        return MaskPair(
            _mask(self.reference, boxes[0], around, shape),
            _mask(self.prediction, boxes[1], around, shape),
            None if self.counted is None else self.counted[around],
        )

    @cached_property
    def _boxes(self) -> list[dict[int, Box]]:
        """The bounding box of each class in the reference and in the prediction."""
        return [boxes_of(side) for side in (self.reference, self.prediction)]


def boxes_of(classes: np.ndarray) -> dict[int, Box]:
    """Return the bounding box of each class but 0 that is there.

    Runs of equal voxels along rows are looked at, not single voxels, in a third of the time of `ndimage.find_objects`.

    Args:
        classes: unsigned integers, axes (I, J, K); small numbers, as tables are as long as the largest.
    """
    num_classes, row = int(classes.max()) + 1, classes.shape[2]
    low = np.full((3, num_classes), max(classes.shape), np.intp)
    high = np.full((3, num_classes), -1, np.intp)
    for i, plane in enumerate(classes):
        flat = plane.reshape(-1)
        is_start = np.ones(flat.size, bool)
        np.not_equal(flat[1:], flat[:-1], out=is_start[1:])
        is_start[::row] = True
        starts = np.flatnonzero(is_start)
        lengths = np.diff(starts, append=flat.size)
        inside = np.flatnonzero(flat[starts])
        starts, lengths = starts[inside], lengths[inside]
        values = flat[starts].astype(np.intp)
        j, k = np.divmod(starts, row)
        for axis, first, last in ((0, i, i), (1, j, j), (2, k, k + lengths - 1)):
            np.minimum.at(low[axis], values, first)
            np.maximum.at(high[axis], values, last)
    found = np.flatnonzero(high[0] >= 0).tolist()
    return {
        index: tuple(slice(*ends) for ends in zip(low[:, index].tolist(), (high[:, index] + 1).tolist(), strict=True))
        for index in found
    }


def _box_around(boxes: Sequence[Box]) -> Box:
    """Return the smallest box around all `boxes`, one voxel if there is none."""
    if not boxes:
        return (slice(0, 1),) * 3
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))


def _mask(classes: np.ndarray, boxes: dict[int, Box], around: Box, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for index, box in boxes.items():
        inside = tuple(slice(s.start - a.start, s.stop - a.start) for s, a in zip(box, around, strict=True))
        mask[inside] |= classes[box] == index
    return mask
