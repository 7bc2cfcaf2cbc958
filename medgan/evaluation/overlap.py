"""How many voxels of each label two label volumes share, for all labels in one pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_CHUNK = 1 << 18  # voxels at a time: the indices of one chunk stay in the processor's cache


@dataclass(frozen=True)
class Overlap:
    """The voxels of one label in a reference, in a prediction, and in both."""

    reference_voxels: int
    prediction_voxels: int
    shared_voxels: int

    @property
    def dice(self) -> float:
        """2 |R n P| / (|R| + |P|), 0 to 1; NaN if both are empty."""
        total = self.reference_voxels + self.prediction_voxels
        return 2 * self.shared_voxels / total if total else math.nan

    @property
    def iou(self) -> float:
        """|R n P| / |R u P|, 0 to 1; NaN if both are empty."""
        union = self.reference_voxels + self.prediction_voxels - self.shared_voxels
        return self.shared_voxels / union if union else math.nan


def count_overlaps(reference: np.ndarray, prediction: np.ndarray, *, values: Sequence[int]) -> list[Overlap]:
    """Return the overlap of each label of `values`, in that order.

    Works on label values as on class indices; what is not in `values` counts as background. Memory does not grow with
    the volume.

    Args:
        reference: non-negative integers, any shape.
        prediction: likewise, of the same shape.
        values: the labels to count.

    Example:
        >>> count_overlaps(np.array([0, 1, 1, 5]), np.array([1, 1, 0, 5]), values=[1, 5])[0]
        Overlap(reference_voxels=2, prediction_voxels=2, shared_voxels=1)
    """
    assert reference.shape == prediction.shape, (reference.shape, prediction.shape)
    reference, prediction = reference.reshape(-1), prediction.reshape(-1)
    num_classes = len(values) + 1
    position = np.zeros(
        1 + max(int(array.max(initial=0)) for array in (reference, prediction, np.array(values))), np.intp
    )
    position[list(values)] = np.arange(1, num_classes)
    counts = np.zeros((3, num_classes), dtype=np.int64)
    for start in range(0, reference.size, _CHUNK):
        r, p = (np.take(position, array[start : start + _CHUNK]) for array in (reference, prediction))
        for row, members in enumerate((r, p, r[r == p])):
            counts[row] += np.bincount(members, minlength=num_classes)
    return [Overlap(*column) for column in counts[:, 1:].T.tolist()]
