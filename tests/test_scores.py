import dataclasses
import math

import numpy as np
import pytest
from phantoms import box_volume, oblique_affine

from medgan.errors import MedganError
from medgan.evaluation.scores import METRICS, Score, score_case
from medgan.labels import LabelMap
from medgan.volume.volume import Volume

LABELS = LabelMap.from_mapping({"liver": 1, "heart": 2, "spine": 7})
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])


def labelled(*voxels, shape=(6, 6, 6), affine=AFFINE, dtype=np.uint8):
    """Return a label volume with the given (i, j, k, value)."""
    data = np.zeros((1, *shape), dtype)
    for i, j, k, value in voxels:
        data[0, i, j, k] = value
    return Volume(data, affine)


def scores_of(reference, prediction, **options):
    scores = score_case(reference, prediction, LABELS, case_id="case_1", **options)
    return {score.organ: score for score in scores}


def test_first_columns_are_those_users_rely_on():
    names = [field.name for field in dataclasses.fields(Score)]
    assert names[:6] == ["case_id", "organ", "dice", "iou", "hausdorff_mm", "hd95_mm"]
    assert names[6:10] == ["assd_mm", "surface_dice", "reference_ml", "prediction_ml"]


def test_every_metric_is_a_column_and_every_column_a_metric():
    assert [field.name for field in dataclasses.fields(Score)][2:] == list(METRICS)


def test_scores_match_hand_arithmetic():
    reference = labelled((1, 1, 1, 2), (1, 2, 1, 2))
    prediction = labelled((1, 1, 1, 2), (3, 1, 1, 2), (1, 1, 4, 2))  # 4 mm along i, 9 mm along k
    score = scores_of(reference, prediction, surface_tolerance_mm=4.0)["heart"]
    assert (score.case_id, score.organ) == ("case_1", "heart")
    assert score.dice == 2 * 1 / (2 + 3)
    assert score.iou == 1 / 4
    assert score.hausdorff_mm == 9
    assert score.hd95_mm == pytest.approx(4 + 0.9 * 5)  # of 0, 4, 9
    assert score.assd_mm == (0 + 1 + 0 + 4 + 9) / 5
    assert score.surface_dice == 4 / 5
    assert score.reference_ml == pytest.approx(2 * 6 / 1000)
    assert score.prediction_ml == pytest.approx(3 * 6 / 1000)
    assert score.volume_error_ml == pytest.approx(6 / 1000)
    assert score.volume_error_percent == pytest.approx(50)


def test_missed_organ_scores_zero_overlap_and_undefined_distance():
    score = scores_of(labelled((1, 1, 1, 1)), labelled())["liver"]
    assert score.is_missed
    assert not score.is_invented
    assert (score.dice, score.iou, score.surface_dice) == (0, 0, 0)
    assert all(math.isnan(d) for d in (score.hausdorff_mm, score.hd95_mm, score.assd_mm))
    assert (score.prediction_ml, score.volume_error_percent) == (0, -100)


def test_invented_organ_scores_zero_overlap_and_undefined_distance():
    score = scores_of(labelled(), labelled((1, 1, 1, 7)))["spine"]
    assert score.is_invented
    assert not score.is_missed
    assert (score.dice, score.iou, score.surface_dice) == (0, 0, 0)
    assert all(math.isnan(d) for d in (score.hausdorff_mm, score.hd95_mm, score.assd_mm))
    assert score.volume_error_ml == pytest.approx(6 / 1000)
    assert math.isnan(score.volume_error_percent)


def test_organ_in_neither_volume_is_undefined():
    score = scores_of(labelled(), labelled())["heart"]
    assert score.is_absent
    undefined = [name for name in METRICS if math.isnan(getattr(score, name))]
    assert undefined == [name for name in METRICS if not name.endswith("_ml")]
    assert (score.reference_ml, score.prediction_ml, score.volume_error_ml) == (0, 0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.dtype(">i4"), np.uint64])
def test_type_and_memory_order_of_the_voxels_change_nothing(dtype):
    reference, prediction = box_volume(labels=True), box_volume(labels=True, shape=(12, 10, 8))
    moved = np.roll(prediction.data, (1, 2, 1), axis=(1, 2, 3))
    labels = LabelMap.from_mapping({"a": 1, "b": 2, "c": 3})
    plain = score_case(reference, Volume(moved, reference.affine), labels, case_id="x")
    other = score_case(
        Volume(np.asfortranarray(reference.data.astype(dtype)), reference.affine),
        Volume(moved.astype(dtype), reference.affine),
        labels,
        case_id="x",
    )
    assert [score.dice for score in plain] == [score.dice for score in other]
    for one, two in zip(plain, other, strict=True):
        assert dataclasses.astuple(one)[2:] == pytest.approx(dataclasses.astuple(two)[2:])


def test_turning_both_volumes_in_space_changes_no_score():
    labels = LabelMap.from_mapping({"a": 1, "b": 2, "c": 3})
    upright = np.diag([1.5, 2.0, 3.0, 1.0])
    results = []
    for affine in (upright, oblique_affine(left_handed=True)):
        reference = box_volume(labels=True, affine=affine)
        prediction = Volume(np.roll(reference.data, 1, axis=2), affine)
        results.append([dataclasses.astuple(s)[2:] for s in score_case(reference, prediction, labels, case_id="x")])
    assert np.array(results[1]) == pytest.approx(np.array(results[0]))


def test_2d_image_is_judged_in_its_plane():
    square = [(i, j, 0, 1) for i in range(1, 6) for j in range(1, 6)]
    hollow = [(i, j, 0, 1) for i, j, _, _ in square if (i, j) != (3, 3)]
    score = scores_of(labelled(*square, shape=(8, 8, 1)), labelled(*hollow, shape=(8, 8, 1)))["liver"]
    # The hole adds four pixels of edge to the outline's 16: two are 1 mm from the outline along j, two 2 mm along i.
    assert score.hausdorff_mm == 2
    assert score.assd_mm == pytest.approx((1 + 1 + 2 + 2) / (16 + 20))


def test_different_grids_are_refused_with_both_named():
    with pytest.raises(MedganError, match=r"case_1: .*one grid, found 6x6x6 .* and 6x6x5 voxels"):
        scores_of(labelled(), labelled(shape=(6, 6, 5)))


def test_values_outside_the_map_are_refused():
    with pytest.raises(MedganError, match=r"case_1, prediction: label values \[4\] are not in the label map"):
        scores_of(labelled((1, 1, 1, 1)), labelled((1, 1, 1, 4)))


def test_values_of_any_size_are_scored():
    labels = LabelMap.from_mapping({"kidney": 3, "liver": 16777216, "spleen": 16777217, "last": 2**32 - 1})
    small = box_volume(labels=True)
    large = Volume(np.array([0, 16777217, 16777216, 2**32 - 1], np.uint32)[small.data], small.affine)
    mixed = Volume(np.where(small.data == 1, np.uint32(16777216), large.data), small.affine)
    dice = {score.organ: score.dice for score in score_case(large, mixed, labels, case_id="x")}
    in_both, in_spleen = (np.count_nonzero(small.data == value) for value in (2, 1))
    assert dice["liver"] == 2 * in_both / (2 * in_both + in_spleen)
    assert (dice["spleen"], dice["last"]) == (0.0, 1.0)
    assert math.isnan(dice["kidney"])


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (labelled(dtype=np.float32), "integer type, found float32"),
        (labelled((0, 0, 0, -3), dtype=np.int16), r"label values \[-3\] are not in the label map"),
        (Volume(np.zeros((2, 6, 6, 6), np.uint8), AFFINE), "one channel, found 2"),
    ],
)
def test_what_is_no_label_volume_is_refused(volume, message):
    with pytest.raises(MedganError, match=f"case case_1, prediction: .*{message}"):
        scores_of(labelled(), volume)


@pytest.mark.parametrize("tolerance_mm", [-1.0, math.nan, math.inf])
def test_tolerance_must_be_a_distance(tolerance_mm):
    with pytest.raises(MedganError, match="surface_tolerance_mm must be a distance of 0 mm or more"):
        scores_of(labelled(), labelled(), surface_tolerance_mm=tolerance_mm)


def test_boolean_masks_are_label_volumes():
    reference = Volume(np.ones((1, 3, 3, 3), bool), AFFINE)
    assert scores_of(reference, reference)["liver"].dice == 1.0
