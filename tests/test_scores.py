import math

import numpy as np
import pytest
from phantoms import box_volume, oblique_affine

from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.evaluation import metrics
from medgan.evaluation.boundary_iou import boundary_iou
from medgan.evaluation.scores import check_settings, diagonal_mm_of, score_case
from medgan.evaluation.surface import surface_distances
from medgan.labels import LabelMap
from medgan.volume.volume import Volume

LABELS = LabelMap.from_mapping({"liver": 1, "heart": 2, "spine": 7})
LUNGS = LabelMap.from_mapping({"left_lung": 1, "right_lung": 2, "lungs": {"organs": ["left_lung", "right_lung"]}})
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])
VOXELS = EvaluationConfig(surface="voxels")


def labelled(*voxels, shape=(6, 6, 6), affine=AFFINE, dtype=np.uint8):
    """Return a label volume with the given (i, j, k, value)."""
    data = np.zeros((1, *shape), dtype)
    for i, j, k, value in voxels:
        data[0, i, j, k] = value
    return Volume(data, affine)


def row_of(values, *, affine=AFFINE, dtype=np.uint8):
    """Return a label volume with one row of values along j, in the middle of three slices and three rows."""
    data = np.zeros((1, 3, len(values), 3), dtype)
    data[0, 1, :, 1] = values
    return Volume(data, affine)


def scores_of(reference, prediction, labels=LABELS, **options):
    scores = score_case(reference, prediction, labels, case_id="case_1", **options)
    return {score.organ: score for score in scores}


def shares_of(score):
    return [score[name] for name in ("dice", "iou", "sensitivity", "precision")]


def test_scores_match_hand_arithmetic():
    reference = labelled((1, 1, 1, 2), (1, 2, 1, 2))
    prediction = labelled((1, 1, 1, 2), (3, 1, 1, 2), (1, 1, 4, 2))  # 4 mm along i, 9 mm along k
    settings = EvaluationConfig(surface="voxels", surface_tolerance_mm=4.0, percentiles=(95, 50))
    score = scores_of(reference, prediction, settings=settings)["heart"]
    assert (score.case_id, score.organ) == ("case_1", "heart")
    assert score.values == pytest.approx(
        {
            "dice": 2 * 1 / (2 + 3),
            "iou": 1 / 4,
            "sensitivity": 1 / 2,
            "precision": 1 / 3,
            "hausdorff_mm": 9,
            "hd95_mm": 4 + 0.9 * 5,  # of 0, 4, 9
            "hd50_mm": 4,
            "assd_mm": (0 + 1 + 0 + 4 + 9) / 5,
            "surface_dice": 4 / 5,
            "boundary_iou": 1 / 4,  # all voxels are at the boundary
            "reference_ml": 2 * 6 / 1000,
            "prediction_ml": 3 * 6 / 1000,
            "volume_error_ml": 6 / 1000,
            "volume_error_percent": 50,
            "reference_components": 1,
            "prediction_components": 3,
        }
    )
    assert list(score.values) == list(metrics.metrics_of(settings))
    assert score.diagonal_mm == math.sqrt(12**2 + 6**2 + 18**2)


@pytest.mark.parametrize("surface", ["area", "voxels"])
def test_distances_are_those_of_the_surface_chosen(surface):
    reference = box_volume(labels=True)
    prediction = Volume(np.roll(reference.data, 1, axis=2), reference.affine)
    labels = LabelMap.from_mapping({"a": 1, "b": 2, "c": 3})
    settings = EvaluationConfig(surface=surface, surface_tolerance_mm=2.0)
    score = scores_of(reference, prediction, labels, settings=settings)["b"]
    masks = reference.data[0] == 2, prediction.data[0] == 2
    distances = surface_distances(*masks, reference.affine, surface=surface)
    assert score["hausdorff_mm"] == pytest.approx(distances.hausdorff_mm)
    assert score["hd95_mm"] == pytest.approx(distances.percentile_mm(95))
    assert score["assd_mm"] == pytest.approx(distances.assd_mm)
    assert score["surface_dice"] == pytest.approx(distances.surface_dice(2.0))
    assert score["boundary_iou"] == boundary_iou(*masks, reference.affine, width_mm=2.0)


def test_tolerance_is_that_of_the_organ():
    pair = labelled((1, 1, 1, 1), (1, 1, 3, 2)), labelled((1, 3, 1, 1), (1, 3, 3, 2))  # 2 mm apart
    settings = EvaluationConfig(surface="voxels", surface_tolerance_mm={"liver": 2.0, "default": 1.0})
    scores = scores_of(*pair, settings=settings)
    assert (scores["liver"]["surface_dice"], scores["heart"]["surface_dice"]) == (1, 0)


def test_only_what_is_asked_for_is_computed(monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError("nobody asked for this")

    pair = row_of([1, 1, 0, 2]), row_of([1, 0, 0, 2])
    for name in ("surface_distances", "boundary_iou", "count_components"):
        monkeypatch.setattr(metrics, name, fail)
    monkeypatch.setattr(metrics.ClassPair, "masks_of", fail)
    scores = scores_of(*pair, LUNGS, metrics=["iou", "dice"])
    assert list(scores["lungs"].values) == ["dice", "iou", "reference_ml", "prediction_ml"]
    assert scores["lungs"]["dice"] == 4 / 5
    with pytest.raises(AssertionError, match="nobody asked"):
        scores_of(*pair, LUNGS, metrics=["reference_components"])


def test_unknown_metric_is_refused():
    with pytest.raises(MedganError, match="metric 'dize': there is none of that name"):
        scores_of(labelled(), labelled(), metrics=["dize"])


def test_missed_invented_and_absent_organs_are_told_apart():
    scores = scores_of(labelled((1, 1, 1, 1)), labelled((1, 1, 1, 7)))
    kinds = {organ: (score.is_missed, score.is_invented, score.is_absent) for organ, score in scores.items()}
    assert kinds == {"liver": (True, False, False), "spine": (False, True, False), "heart": (False, False, True)}


def test_groups_come_after_the_organs_and_are_scored_as_one_mask():
    reference, prediction = row_of([1, 1, 0, 2, 2, 2]), row_of([2, 1, 0, 2, 2, 0])  # one left voxel is called right
    scores = scores_of(reference, prediction, LUNGS, settings=VOXELS)
    assert list(scores) == ["left_lung", "right_lung", "lungs"]
    assert shares_of(scores["left_lung"]) == [2 / 3, 1 / 2, 1 / 2, 1]
    assert shares_of(scores["lungs"]) == [2 * 4 / (5 + 4), 4 / 5, 4 / 5, 1]
    assert scores["lungs"]["hausdorff_mm"] == 1
    assert scores["lungs"]["assd_mm"] == pytest.approx(1 / 9)
    assert scores["lungs"]["boundary_iou"] == 4 / 5
    assert (scores["lungs"]["reference_components"], scores["right_lung"]["prediction_components"]) == (2, 2)
    assert scores["lungs"]["reference_ml"] == pytest.approx(5 * 6 / 1000)


def test_a_surface_inside_a_group_is_none_of_the_group():
    reference, prediction = labelled(), labelled()
    reference.data[0, 1:5, 1:5, 1:5] = prediction.data[0, 1:5, 1:5, 1:5] = 1
    reference.data[0, 1:3, 1:5, 1:5] = 2  # the border between the two is elsewhere in the prediction
    prediction.data[0, 1:5, 1:3, 1:5] = 2
    scores = scores_of(reference, prediction, LUNGS)
    assert scores["left_lung"]["hausdorff_mm"] > 1
    names = ("dice", "hausdorff_mm", "surface_dice", "boundary_iou")
    assert [scores["lungs"][name] for name in names] == pytest.approx([1, 0, 1, 1])


def test_ignored_voxels_count_nowhere():
    labels = LabelMap.from_mapping({"liver": 1, "ignore": 255})
    reference = row_of([1, 1, 255, 255, 255, 0, 0])
    prediction = row_of([1, 0, 1, 1, 0, 1, 0])  # two of its voxels lie where nobody labelled
    score = scores_of(reference, prediction, labels, settings=VOXELS)["liver"]
    assert shares_of(score) == [2 / 4, 1 / 3, 1 / 2, 1 / 2]
    assert score["prediction_ml"] == pytest.approx(2 * 6 / 1000)
    # The reference's voxel 1 and the prediction's voxel 5 touch ignored ones: they are not measured from.
    assert (score["hausdorff_mm"], score["surface_dice"]) == (0, 1)
    assert score["prediction_components"] == 2


def test_ignored_value_in_the_prediction_is_background():
    labels = LabelMap.from_mapping({"liver": 1, "ignore": 255})
    score = scores_of(row_of([1, 1, 0]), row_of([1, 255, 0]), labels)["liver"]
    assert shares_of(score) == [2 / 3, 1 / 2, 1 / 2, 1]


def test_only_the_region_counts():
    reference, prediction = row_of([1, 1, 1, 1, 0, 0, 2]), row_of([1, 1, 0, 0, 0, 1, 2])
    region = row_of([0, 1, 1, 1, 1, 0, 0], dtype=np.float32)
    scores = scores_of(reference, prediction, LUNGS, settings=VOXELS, region=region)
    assert shares_of(scores["left_lung"]) == [2 / 4, 1 / 3, 1 / 3, 1]
    assert scores["left_lung"]["reference_ml"] == pytest.approx(3 * 6 / 1000)
    assert scores["right_lung"].is_absent
    assert scores["lungs"].values == pytest.approx(scores["left_lung"].values, nan_ok=True)


@pytest.mark.parametrize("surface", ["area", "voxels"])
def test_missed_and_invented_organs_score_zero_among_ignored_voxels(surface):
    reference = labelled((2, 2, 2, 1))
    reference.data[0, 1:4, 1:4, 1:4] = 255  # all around the liver of the one, and the heart of the other
    reference.data[0, 2, 2, 2] = 1
    prediction = labelled((2, 2, 2, 2))
    labels = LabelMap.from_mapping({"liver": 1, "heart": 2, "ignore": 255})
    scores = scores_of(reference, prediction, labels, settings=EvaluationConfig(surface=surface))
    assert (scores["liver"].is_missed, scores["heart"].is_invented) == (True, True)
    for score in scores.values():
        assert [score[name] for name in ("dice", "surface_dice", "boundary_iou")] == [0, 0, 0]
        for name in ("hausdorff_mm", "hd95_mm", "assd_mm"):
            assert math.isnan(score[name])
            assert metrics.value_of(score, name, undefined="penalise") == score.diagonal_mm


def test_surface_hidden_by_ignored_voxels_is_undefined_under_both_policies():
    both = labelled()
    both.data[0, 1:4, 1:4, 1:4] = 255
    both.data[0, 2, 2, 2] = 1
    score = scores_of(both, labelled((2, 2, 2, 1)), LabelMap.from_mapping({"liver": 1, "ignore": 255}))["liver"]
    assert score["dice"] == 1
    for name in ("hausdorff_mm", "hd95_mm", "assd_mm", "surface_dice"):
        for undefined in ("count", "penalise"):
            assert math.isnan(metrics.value_of(score, name, undefined=undefined)), name


def test_cut_by_the_region_is_no_surface_to_measure_from():
    tall = np.zeros((1, 9, 9, 9), np.uint8)
    tall[0, 3:6, 3:6, :] = 1
    short = tall.copy()
    short[0, :, :, 7:] = 0
    inside = np.zeros_like(tall)
    inside[..., :6] = 1  # below the end of the short one
    volumes = (Volume(tall, AFFINE), Volume(short, AFFINE))
    for settings in (VOXELS, EvaluationConfig()):
        whole = scores_of(*volumes, settings=settings)["liver"]
        cut = scores_of(*volumes, settings=settings, region=Volume(inside, AFFINE))["liver"]
        assert (cut["dice"], cut["hausdorff_mm"], cut["surface_dice"], cut["boundary_iou"]) == (1, 0, 1, 1)
        assert whole["hausdorff_mm"] == 6


def test_region_on_another_grid_is_refused():
    with pytest.raises(MedganError, match=r"case_1: the region must .*on the reference's grid, found 1 of 6x6x5"):
        scores_of(labelled(), labelled(), region=labelled(shape=(6, 6, 5)))


def test_region_without_a_voxel_is_refused():
    with pytest.raises(MedganError, match="case_1: no voxel counts"):
        scores_of(labelled((1, 1, 1, 1)), labelled(), region=labelled())


def test_merged_values_are_one_organ():
    labels = LabelMap.from_mapping({"heart": {"value": 51, "merge": [52, 53]}, "liver": 5})
    score = scores_of(row_of([51, 52, 53, 5]), row_of([53, 53, 51, 0]), labels)["heart"]
    assert shares_of(score) == [1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.dtype(">i4"), np.uint64])
def test_type_and_memory_order_of_the_voxels_change_nothing(dtype):
    reference, prediction = box_volume(labels=True), box_volume(labels=True, shape=(12, 10, 8))
    moved = np.roll(prediction.data, (1, 2, 1), axis=(1, 2, 3))
    labels = LabelMap.from_mapping({"a": 1, "b": 2, "c": 3, "both": {"organs": ["a", "c"]}})
    plain = score_case(reference, Volume(moved, reference.affine), labels, case_id="x")
    other = score_case(
        Volume(np.asfortranarray(reference.data.astype(dtype)), reference.affine),
        Volume(moved.astype(dtype), reference.affine),
        labels,
        case_id="x",
    )
    for one, two in zip(plain, other, strict=True):
        assert one.values == pytest.approx(two.values)


def test_turning_both_volumes_in_space_changes_no_score():
    labels = LabelMap.from_mapping({"a": 1, "b": 2, "c": 3})
    upright = np.diag([1.5, 2.0, 3.0, 1.0])
    results = []
    for affine in (upright, oblique_affine(left_handed=True)):
        reference = box_volume(labels=True, affine=affine)
        prediction = Volume(np.roll(reference.data, 1, axis=2), affine)
        results.append([list(s.values.values()) for s in score_case(reference, prediction, labels, case_id="x")])
    assert np.array(results[1]) == pytest.approx(np.array(results[0]))


def test_2d_image_is_judged_in_its_plane():
    square = [(i, j, 0, 1) for i in range(1, 6) for j in range(1, 6)]
    hollow = [(i, j, 0, 1) for i, j, _, _ in square if (i, j) != (3, 3)]
    pair = labelled(*square, shape=(8, 8, 1)), labelled(*hollow, shape=(8, 8, 1))
    score = scores_of(*pair, settings=EvaluationConfig(surface="voxels", surface_tolerance_mm=1.0))["liver"]
    # The hole adds four pixels of edge to the outline's 16: two are 1 mm from the outline along j, two 2 mm along i.
    assert score["hausdorff_mm"] == 2
    assert score["assd_mm"] == pytest.approx((1 + 1 + 2 + 2) / (16 + 20))
    assert score["surface_dice"] == (16 + 18) / (16 + 20)
    assert score["boundary_iou"] == 16 / 20
    assert score["reference_ml"] == pytest.approx(25 * 6 / 1000)  # the slice is 3 mm thick


def test_different_grids_are_refused_with_both_named():
    with pytest.raises(MedganError, match=r"case_1: .*one grid, found 6x6x6 .* and 6x6x5 voxels"):
        scores_of(labelled(), labelled(shape=(6, 6, 5)))


@pytest.mark.parametrize("value", [4, 255])
def test_values_outside_the_map_are_refused(value):
    for labels in (LABELS, LUNGS):
        with pytest.raises(
            MedganError, match=rf"case_1, prediction: label values \[{value}\] are not in the label map"
        ):
            scores_of(labelled((1, 1, 1, 1)), labelled((1, 1, 1, value)), labels)


def test_values_of_any_size_are_scored():
    labels = LabelMap.from_mapping({"kidney": 3, "liver": 16777216, "spleen": 16777217, "last": 2**32 - 1})
    small = box_volume(labels=True)
    large = Volume(np.array([0, 16777217, 16777216, 2**32 - 1], np.uint32)[small.data], small.affine)
    mixed = Volume(np.where(small.data == 1, np.uint32(16777216), large.data), small.affine)
    dice = {score.organ: score["dice"] for score in score_case(large, mixed, labels, case_id="x")}
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


def test_boolean_masks_are_label_volumes():
    reference = Volume(np.ones((1, 3, 3, 3), bool), AFFINE)
    assert scores_of(reference, reference)["liver"]["dice"] == 1.0


def test_input_volumes_are_left_as_they_are():
    reference, prediction = row_of([1, 2, 1]), row_of([1, 1, 0])
    before = reference.data.copy(), prediction.data.copy()
    scores_of(reference, prediction, LUNGS, region=row_of([1, 0, 1]))
    assert np.array_equal(reference.data, before[0])
    assert np.array_equal(prediction.data, before[1])


def test_diagonal_is_the_longest_of_a_sheared_grid():
    sheared = np.array([[1.0, 1.0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert diagonal_mm_of(labelled(shape=(2, 2, 1), affine=sheared)) == math.sqrt(4**2 + 2**2 + 1)


def test_tolerances_of_organs_groups_and_the_default_are_accepted():
    check_settings(EvaluationConfig(surface_tolerance_mm={"left_lung": 1, "lungs": 2, "default": 3}), LUNGS)
    check_settings(EvaluationConfig(surface_tolerance_mm=2), LUNGS)


def test_tolerance_of_what_is_not_in_the_map_is_refused():
    wrong = EvaluationConfig(surface_tolerance_mm={"lung": 1.0})
    with pytest.raises(MedganError, match=r"^evaluation.surface_tolerance_mm: 'lung' is no .* did you mean lungs\?$"):
        check_settings(wrong, LUNGS)
    with pytest.raises(MedganError, match=r"'xyz' is no organ or group of the labels; known are default, liver, heart"):
        check_settings(EvaluationConfig(surface_tolerance_mm={"xyz": 1.0}), LABELS)
