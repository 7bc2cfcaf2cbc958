"""Where to cut through a case so that the slices tell most."""

import math
from collections.abc import Sequence

import numpy as np

from medgan.labels import LabelMap
from medgan.volume.volume import Volume

_MAX_VOXELS = 1 << 20  # looked at to choose a slice: more than enough
_NEARLY_MOST = 0.9


def telling_voxel(
    prediction: Volume, reference: Volume | None, labels: LabelMap, *, where: str
) -> tuple[int, int, int]:
    """Return the voxel (i, j, k) whose three slices tell most about a prediction.

    Along each axis it is the slice that holds most of what the organs lack in Dice, each organ counting the same
    whatever its size; the middle one of those that hold nearly as much. Where nothing is lacking, or without a
    reference, it is the slice that halves the organs; without organs the middle of the grid.

    Args:
        prediction: label values.
        reference: likewise, on the same grid; None if unknown.
        labels: the organs.
        where: names the volumes in messages.

    Raises:
        MedganError: if a value is not in the label map.
    """
    memory_order = sorted(range(3), key=lambda axis: -abs(prediction.data.strides[axis + 1]))
    predicted = prediction.data[0].transpose(memory_order)
    found = None
    if reference is not None:
        expected = reference.data[0].transpose(memory_order)
        found = _most_lacking(expected, predicted, labels, where=where) or _middle(expected)
    found = found or _middle(predicted) or [size // 2 for size in predicted.shape]
    i, j, k = (found[memory_order.index(axis)] for axis in range(3))
    return i, j, k


def _most_lacking(reference: np.ndarray, prediction: np.ndarray, labels: LabelMap, *, where: str) -> list[int] | None:
    """Return, for each axis, the slice that holds most of what the organs lack in Dice; None where they lack nothing.

    1 - Dice is the number of voxels of an organ that are in one volume only, divided by its size in both; so each of
    these voxels weighs one by that size. Sizes are estimated from a sample, and so is the rest where there is much.
    """
    differ = reference != prediction
    step = _step_through(differ.shape, num_voxels=int(np.count_nonzero(differ)))
    places = np.unravel_index(np.flatnonzero(differ.ravel()[::step]) * step, differ.shape)
    sides = [labels.to_classes(side[places], where=where) for side in (reference, prediction)]
    if (ignored := labels.ignored_voxels(reference[places])) is not None:
        sides[1][ignored] = 0
    counts_as = [(side > 0) & (sides[0] != sides[1]) for side in sides]
    if not np.any(counts_as):
        return None
    lacking = sum(_class_counts(side[counts], labels) for side, counts in zip(sides, counts_as, strict=True)) * step
    sizes = np.maximum(_sizes(reference, prediction, labels, where=where), lacking)
    weights = sum(counts / np.maximum(sizes, 1)[side] for side, counts in zip(sides, counts_as, strict=True))
    profiles = [np.bincount(along, weights, minlength=size) for along, size in zip(places, differ.shape, strict=True)]
    return [_middle_of_most(profile) for profile in profiles]


def _sizes(reference: np.ndarray, prediction: np.ndarray, labels: LabelMap, *, where: str) -> np.ndarray:
    """Return, for each class, about how many voxels it has in both volumes together."""
    step = _step_through(reference.shape, num_voxels=reference.size)
    sampled = [labels.to_classes(side.ravel()[::step], where=where) for side in (reference, prediction)]
    return _class_counts(np.concatenate(sampled), labels) * step


def _class_counts(classes: np.ndarray, labels: LabelMap) -> np.ndarray:
    return np.bincount(classes, minlength=labels.num_classes)


def _middle_of_most(profile: np.ndarray) -> int:
    """Return the middle one of the slices that hold nearly as much as the one that holds most."""
    best = np.flatnonzero(profile >= _NEARLY_MOST * profile.max())
    return int(best[best.size // 2])


def _middle(organs: np.ndarray) -> list[int] | None:
    """Return, for each axis, the slice that halves the voxels of all organs; None where there are none."""
    step = _step_through(organs.shape, num_voxels=int(np.count_nonzero(organs)))
    places = np.flatnonzero(organs.ravel()[::step]) * step
    return [int(np.median(along)) for along in np.unravel_index(places, organs.shape)] if places.size else None


def _step_through(shape: Sequence[int], *, num_voxels: int) -> int:
    """Return how far to step through a flattened volume so that few enough voxels are met, in every row and column."""
    step = max(1, num_voxels // _MAX_VOXELS)
    while any(math.gcd(step, size) > 1 for size in shape):
        step += 1
    return step
