"""How many voxels the labels of two volumes share, for all labels in one pass."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_CHUNK = 1 << 18  # voxels at a time: what is made of one chunk stays in the processor's cache


@dataclass(frozen=True)
class Overlap:
    """The voxels of one label, or of several as one, in a reference, in a prediction, and in both."""

    reference_voxels: int
    prediction_voxels: int
    shared_voxels: int

    @property
    def dice(self) -> float:
        """2 |R ∩ P| / (|R| + |P|), 0 to 1; NaN if both are empty."""
        return _share(2 * self.shared_voxels, self.reference_voxels + self.prediction_voxels)

    @property
    def iou(self) -> float:
        """|R ∩ P| / |R ∪ P|, 0 to 1; NaN if both are empty."""
        return _share(self.shared_voxels, self.reference_voxels + self.prediction_voxels - self.shared_voxels)

    @property
    def sensitivity(self) -> float:
        """|R ∩ P| / |R|, 0 to 1; NaN if the reference is empty."""
        return _share(self.shared_voxels, self.reference_voxels)

    @property
    def precision(self) -> float:
        """|R ∩ P| / |P|, 0 to 1; NaN if the prediction is empty."""
        return _share(self.shared_voxels, self.prediction_voxels)


def count_overlaps(
    reference: np.ndarray, prediction: np.ndarray, *, values: Sequence[int | Collection[int]]
) -> list[Overlap]:
    """Return the overlap of each label of `values`, in that order; several labels together count as one.

    What is not in `values` counts as background. Memory does not grow with the volume.

    Args:
        reference: integers from 0 to 2**32 - 1, any shape.
        prediction: likewise, of the same shape.
        values: the labels to count, each a number or a collection of numbers.

    Example:
        >>> one, both = count_overlaps(np.array([0, 1, 1, 5]), np.array([1, 1, 5, 5]), values=[1, (1, 5)])
        >>> one, both.shared_voxels
        (Overlap(reference_voxels=2, prediction_voxels=2, shared_voxels=1), 3)
    """
    pairs, voxels = _count_pairs(reference, prediction)
    overlaps = []
    for value in values:
        is_inside = np.isin(pairs, [value] if isinstance(value, int) else list(value))
        members = (is_inside[0], is_inside[1], is_inside[0] & is_inside[1])
        overlaps.append(Overlap(*(int(voxels[member].sum()) for member in members)))
    return overlaps


def _count_pairs(reference: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of labels that meet in a voxel, (2, n), and how many voxels each pair is found in."""
    assert reference.shape == prediction.shape, (reference.shape, prediction.shape)
    reference, prediction = reference.reshape(-1), prediction.reshape(-1)
    if reference.dtype.itemsize == prediction.dtype.itemsize == 1:
        totals = np.zeros(1 << 16)
        for codes, lengths in _runs(reference, prediction, code=np.uint16, bits=8):
            totals += np.bincount(codes, lengths, minlength=totals.size)
        pairs = np.flatnonzero(totals)
        return np.stack([pairs >> 8, pairs & 0xFF]), totals[pairs].astype(np.int64)
    counts: Counter[int] = Counter()
    for codes, lengths in _runs(reference, prediction, code=np.uint64, bits=32):
        found, places = np.unique(codes, return_inverse=True)
        counts.update(dict(zip(found.tolist(), np.bincount(places, lengths).astype(int).tolist(), strict=True)))
    pairs = np.array(list(counts), np.uint64)
    return np.stack([pairs >> np.uint64(32), pairs & np.uint64(2**32 - 1)]), np.array(list(counts.values()), np.int64)


def _runs(
    reference: np.ndarray, prediction: np.ndarray, *, code: type[np.uint16] | type[np.uint64], bits: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, chunk by chunk, the pairs of labels of runs of equal voxels, both in one number, and the runs' lengths.

    Organs are large, so there are far fewer runs than voxels.
    """
    for start in range(0, reference.size, _CHUNK):
        r, p = (side[start : start + _CHUNK].astype(code) for side in (reference, prediction))
        codes = np.left_shift(r, bits) | p
        starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
        yield codes[starts], np.diff(starts, append=codes.size)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
