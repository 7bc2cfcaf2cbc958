import math

import numpy as np
import pytest

from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.evaluation.metrics import METRICS, metric_named, metrics_of, percentile_name, value_of
from medgan.evaluation.scores import score_case
from medgan.labels import LabelMap
from medgan.volume.volume import Volume

NAN = math.nan
DIAGONAL_MM = math.sqrt(12**2 + 6**2 + 18**2)  # of 6 x 6 x 6 voxels of (2, 1, 3) mm
SHARES = ("dice", "iou", "sensitivity", "precision", "surface_dice", "boundary_iou")
DISTANCES = ("hausdorff_mm", "hd95_mm", "assd_mm")
COUNTS = ("reference_components", "prediction_components")
VOLUMES = ("reference_ml", "prediction_ml", "volume_error_ml", "volume_error_percent")


def score_of(*, reference_voxels, prediction_voxels):
    """Return the score of an organ that has so many voxels in a row, in each of two volumes of 6 x 6 x 6."""
    volumes = []
    for num_voxels in (reference_voxels, prediction_voxels):
        data = np.zeros((1, 6, 6, 6), np.uint8)
        data[0, 1, :num_voxels, 1] = 1
        volumes.append(Volume(data, np.diag([2.0, 1.0, 3.0, 1.0])))
    (score,) = score_case(*volumes, LabelMap.from_mapping({"liver": 1}), case_id="case_1")
    return score


def values_of(score, names, undefined):
    return [value_of(score, name, undefined=undefined) for name in names]


def test_no_two_metrics_share_a_title():
    titles = [metric.title for metric in METRICS.values()]
    assert len(set(titles)) == len(titles)


def test_every_metric_is_in_the_table_of_edge_cases():
    assert sorted([*SHARES, *DISTANCES, *COUNTS, *VOLUMES]) == sorted(metrics_of(EvaluationConfig()))


@pytest.mark.parametrize("undefined", ["count", "penalise"])
def test_organ_in_neither_volume_is_undefined_under_both_policies(undefined):
    absent = score_of(reference_voxels=0, prediction_voxels=0)
    assert values_of(absent, [*SHARES, *DISTANCES], undefined) == pytest.approx([NAN] * 9, nan_ok=True)
    assert values_of(absent, VOLUMES, undefined) == pytest.approx([0, 0, 0, NAN], nan_ok=True)
    assert values_of(absent, COUNTS, undefined) == [0, 0]


@pytest.mark.parametrize(("undefined", "precision", "distance_mm"), [("count", NAN, NAN), ("penalise", 0, DIAGONAL_MM)])
def test_missed_organ_has_no_overlap_and_a_distance_only_as_a_penalty(undefined, precision, distance_mm):
    missed = score_of(reference_voxels=2, prediction_voxels=0)
    assert missed.is_missed
    assert values_of(missed, SHARES, undefined) == pytest.approx([0, 0, 0, precision, 0, 0], nan_ok=True)
    assert values_of(missed, DISTANCES, undefined) == pytest.approx([distance_mm] * 3, nan_ok=True)
    assert values_of(missed, VOLUMES, undefined) == pytest.approx([0.012, 0, -0.012, -100])
    assert values_of(missed, COUNTS, undefined) == [1, 0]


@pytest.mark.parametrize(
    ("undefined", "sensitivity", "distance_mm"), [("count", NAN, NAN), ("penalise", 0, DIAGONAL_MM)]
)
def test_invented_organ_has_no_overlap_and_a_distance_only_as_a_penalty(undefined, sensitivity, distance_mm):
    invented = score_of(reference_voxels=0, prediction_voxels=3)
    assert invented.is_invented
    assert values_of(invented, SHARES, undefined) == pytest.approx([0, 0, sensitivity, 0, 0, 0], nan_ok=True)
    assert values_of(invented, DISTANCES, undefined) == pytest.approx([distance_mm] * 3, nan_ok=True)
    assert values_of(invented, VOLUMES, undefined) == pytest.approx([0, 0.018, 0.018, NAN], nan_ok=True)
    assert values_of(invented, COUNTS, undefined) == [0, 1]


@pytest.mark.parametrize(("failure", "voxels"), [("missed", (2, 0)), ("invented", (0, 3))])
def test_what_a_metric_says_of_failures_is_what_is_measured(failure, voxels):
    scores = [score_of(reference_voxels=r * n, prediction_voxels=p * n) for r, p in [voxels] for n in (1, 2)]
    for name, metric in metrics_of(EvaluationConfig()).items():
        told = getattr(metric, failure)
        if told is None:
            assert metric.worst is None, name
        else:
            assert [score[name] for score in scores] == pytest.approx([told, told], nan_ok=True), name


def test_what_is_defined_is_the_same_under_both_policies():
    found = score_of(reference_voxels=2, prediction_voxels=3)
    names = list(found.values)
    assert values_of(found, names, "count") == values_of(found, names, "penalise")
    assert not np.isnan(values_of(found, names, "count")).any()


def test_percentiles_stand_behind_the_hausdorff_distance():
    names = list(metrics_of(EvaluationConfig(percentiles=(95, 99.5))))
    first = names.index("hausdorff_mm")
    assert names[first : first + 4] == ["hausdorff_mm", "hd95_mm", "hd99.5_mm", "assd_mm"]


def test_metrics_asked_for_come_in_their_order_with_both_volumes():
    settings = EvaluationConfig()
    assert list(metrics_of(settings, ["surface_dice", "dice"])) == [
        "dice",
        "surface_dice",
        "reference_ml",
        "prediction_ml",
    ]
    assert list(metrics_of(settings, [])) == ["reference_ml", "prediction_ml"]


def test_percentile_that_is_not_in_the_settings_can_be_asked_for():
    assert "hd90_mm" in metrics_of(EvaluationConfig(), ["hd90_mm"])


def test_percentile_is_found_by_its_name():
    assert percentile_name(95.0) == "hd95_mm"
    assert metric_named("hd99.5_mm").title == "HD99.5"
    assert metric_named("hd99.5_mm").worst == "diagonal"


def test_averages_over_a_surface_are_defined_by_its_area_or_its_voxels():
    for name in ("hd95_mm", "assd_mm", "surface_dice"):
        metric = metric_named(name)
        assert "area" in metric.defined_by("area")
        assert metric.defined_by("voxels") == metric.definition
        assert "area" not in metric.definition
    assert metric_named("hausdorff_mm").defined_by("area") == metric_named("hausdorff_mm").definition


@pytest.mark.parametrize("name", ["dicee", "hd_mm", "hd95", ""])
def test_unknown_metric_is_refused_with_the_known_ones(name):
    for look_up in (metric_named, lambda name: metrics_of(EvaluationConfig(), [name])):
        with pytest.raises(MedganError, match=f"metric '{name}': there is none of that name; known are dice, iou"):
            look_up(name)


@pytest.mark.parametrize("name", [*METRICS, "hd95_mm"])
def test_metric_is_told_in_one_sentence_and_a_known_unit(name):
    metric = metric_named(name)
    assert metric.definition.endswith(".")
    assert metric.definition.count(". ") == 0
    assert metric.unit in ("mm", "ml", "%", "", "count")
    expected = {"mm": "diagonal", "": 0.0}.get(metric.unit)
    assert metric.worst == expected
