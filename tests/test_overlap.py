import math

import numpy as np
import pytest

from medgan.evaluation.overlap import Overlap, count_overlaps


def test_overlaps_match_counting_by_hand():
    reference = np.array([[1, 1, 1], [2, 2, 0]])
    prediction = np.array([[1, 1, 2], [2, 0, 2]])
    one, two = count_overlaps(reference, prediction, values=[1, 2])
    assert one == Overlap(reference_voxels=3, prediction_voxels=2, shared_voxels=2)
    assert two == Overlap(reference_voxels=2, prediction_voxels=3, shared_voxels=1)
    assert (one.dice, one.iou) == (4 / 5, 2 / 3)
    assert (two.dice, two.iou) == (2 / 5, 1 / 4)


def test_both_empty_gives_nan_and_one_empty_gives_zero():
    assert math.isnan(Overlap(0, 0, 0).dice)
    assert math.isnan(Overlap(0, 0, 0).iou)
    assert (Overlap(7, 0, 0).dice, Overlap(7, 0, 0).iou) == (0, 0)
    assert (Overlap(0, 7, 0).dice, Overlap(0, 7, 0).iou) == (0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_counts_of_many_voxels_equal_plain_masks(dtype, order):
    generator = np.random.default_rng(1)
    reference, prediction = (
        np.asarray(generator.choice([0, 1, 3, 200], size=(90, 80, 70)), dtype=dtype, order=order) for _ in range(2)
    )
    for value, overlap in zip((3, 200), count_overlaps(reference, prediction, values=(3, 200)), strict=True):
        r, p = reference == value, prediction == value
        assert overlap == Overlap(int(r.sum()), int(p.sum()), int((r & p).sum()))


def test_values_not_asked_for_count_as_background():
    (overlap,) = count_overlaps(np.array([9, 9, 1]), np.array([1, 9, 1]), values=[1])
    assert overlap == Overlap(reference_voxels=1, prediction_voxels=2, shared_voxels=1)
