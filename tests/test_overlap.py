import math

import numpy as np
import pytest

from medgan.evaluation import overlap
from medgan.evaluation.overlap import Overlap, count_overlaps

SHARES = ("dice", "iou", "sensitivity", "precision")


def shares_of(counted):
    return [getattr(counted, name) for name in SHARES]


def random_labels(seed, *, values=(0, 1, 3, 200), dtype=np.uint8, order="C"):
    """Return labels in runs of some voxels along rows, as organs are."""
    generator = np.random.default_rng(seed)
    return np.asarray(generator.choice(values, size=(90, 80, 10)).repeat(7, axis=2), dtype=dtype, order=order)


def test_overlaps_match_counting_by_hand():
    reference = np.array([[1, 1, 1], [2, 2, 0]])
    prediction = np.array([[1, 1, 2], [2, 0, 2]])
    one, two = count_overlaps(reference, prediction, values=[1, 2])
    assert one == Overlap(reference_voxels=3, prediction_voxels=2, shared_voxels=2)
    assert two == Overlap(reference_voxels=2, prediction_voxels=3, shared_voxels=1)
    assert shares_of(one) == [4 / 5, 2 / 3, 2 / 3, 1]
    assert shares_of(two) == [2 / 5, 1 / 4, 1 / 2, 1 / 3]


def test_several_labels_together_count_as_one():
    reference = np.array([[1, 1, 1], [2, 2, 0]])
    prediction = np.array([[1, 1, 2], [2, 0, 5]])
    (both,) = count_overlaps(reference, prediction, values=[(1, 2)])
    assert both == Overlap(reference_voxels=5, prediction_voxels=4, shared_voxels=4)  # a 1 called 2 is shared


def test_what_is_empty_decides_what_is_undefined():
    assert shares_of(Overlap(0, 0, 0)) == pytest.approx([math.nan] * 4, nan_ok=True)
    assert shares_of(Overlap(7, 0, 0)) == pytest.approx([0, 0, 0, math.nan], nan_ok=True)
    assert shares_of(Overlap(0, 7, 0)) == pytest.approx([0, 0, math.nan, 0], nan_ok=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_counts_of_many_voxels_equal_plain_masks(dtype, order):
    reference, prediction = (random_labels(seed, dtype=dtype, order=order) for seed in (1, 2))
    for value, counted in zip((3, 200), count_overlaps(reference, prediction, values=(3, 200)), strict=True):
        r, p = reference == value, prediction == value
        assert counted == Overlap(int(r.sum()), int(p.sum()), int((r & p).sum()))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_runs_that_go_on_from_one_chunk_to_the_next_are_counted_once(monkeypatch, dtype):
    reference, prediction = (random_labels(seed, dtype=dtype) for seed in (1, 2))
    at_once = count_overlaps(reference, prediction, values=(1, 3, 200))
    monkeypatch.setattr(overlap, "_CHUNK", 1000)
    assert count_overlaps(reference, prediction, values=(1, 3, 200)) == at_once


def test_values_not_asked_for_count_as_background():
    (counted,) = count_overlaps(np.array([9, 9, 1]), np.array([1, 9, 1]), values=[1])
    assert counted == Overlap(reference_voxels=1, prediction_voxels=2, shared_voxels=1)


def test_values_of_any_size_are_told_apart():
    reference, prediction = np.array([2**32 - 1, 2**24, 2**24 + 1]), np.array([2**32 - 1, 2**24 + 1, 2**24 + 1])
    counted = count_overlaps(reference, prediction, values=[2**24, 2**24 + 1, 2**32 - 1])
    assert counted == [Overlap(1, 0, 0), Overlap(1, 2, 1), Overlap(1, 1, 1)]


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI 1.6.1 warns of itself
def test_shares_equal_those_of_monai():
    import torch
    from monai.metrics import compute_confusion_matrix_metric, compute_dice, compute_iou, get_confusion_matrix

    reference, prediction = (random_labels(seed) for seed in (3, 4))
    ours = [shares_of(counted) for counted in count_overlaps(reference, prediction, values=(1, 3, 200))]
    y, y_pred = (
        torch.from_numpy(np.stack([side == value for value in (1, 3, 200)])[None].astype(np.float32))
        for side in (reference, prediction)
    )
    confusion = get_confusion_matrix(y_pred, y)
    theirs = (
        compute_dice(y_pred, y)[0],
        compute_iou(y_pred, y)[0],
        compute_confusion_matrix_metric("sensitivity", confusion)[0],
        compute_confusion_matrix_metric("precision", confusion)[0],
    )
    assert np.stack(ours, axis=1) == pytest.approx(torch.stack(theirs).numpy(), rel=1e-6)
