import math

import pytest

from medgan.evaluation.scores import Score
from medgan.report.ranking import pictured_cases, worst_first

NAN = math.nan


def score(case_id, organ="heart", *, reference_ml=500.0, prediction_ml=500.0, **values):
    return Score(case_id, organ, {**values, "reference_ml": reference_ml, "prediction_ml": prediction_ml}, 400.0)


def ids(scores):
    return [score.case_id for score in scores]


def test_missed_and_invented_organs_come_before_bad_ones():
    missed = score("missed", dice=0.0, hd95_mm=NAN, prediction_ml=0.0)
    invented = score("invented", dice=0.0, hd95_mm=NAN, reference_ml=0.0, prediction_ml=20.0)
    apart = score("apart", dice=0.0, hd95_mm=90.0)
    assert ids(worst_first([apart, invented, missed])) == ["missed", "invented", "apart"]  # 500 ml before 20 ml


def test_dice_decides_then_the_distance():
    far, near = (score(name, dice=0.5, hd95_mm=mm) for name, mm in (("far", 20.0), ("near", 4.0)))
    good = score("good", dice=0.9, hd95_mm=50.0)
    assert ids(worst_first([good, near, far])) == ["far", "near", "good"]


def test_organs_in_neither_volume_are_left_out():
    assert worst_first([score("a", dice=NAN, hd95_mm=NAN, reference_ml=0.0, prediction_ml=0.0)]) == []


@pytest.mark.parametrize("name", ["hausdorff_mm", "assd_mm", "hd95_mm"])
def test_without_dice_the_distance_that_was_measured_decides(name):
    assert ids(worst_first([score("near", **{name: 1.0}), score("far", **{name: 9.0})])) == ["far", "near"]


def test_without_any_of_these_metrics_the_order_stays():
    assert ids(worst_first([score("b"), score("a"), score("c", prediction_ml=0.0)])) == ["c", "b", "a"]


def cohort():
    """Return nine cases with Dice 0.1 to 0.9."""
    return [score(f"case_{n}", dice=n / 10) for n in range(1, 10)]


def test_two_thirds_of_the_pictures_show_the_worst_cases_and_one_third_the_median_ones():
    assert pictured_cases(cohort(), 3) == ["case_1", "case_2", "case_5"]
    assert pictured_cases(cohort(), 6) == ["case_1", "case_2", "case_3", "case_4", "case_5", "case_6"]
    assert pictured_cases(cohort(), 1) == ["case_1"]
    assert pictured_cases(cohort(), 0) == []


def test_every_case_is_pictured_where_there_is_room_worst_first():
    empty = score("case_0", dice=NAN, reference_ml=0.0, prediction_ml=0.0)
    assert pictured_cases([empty, *cohort()], 10) == [f"case_{n}" for n in (*range(1, 10), 0)]
    assert len(pictured_cases(cohort(), 99)) == 9


def test_a_case_is_ranked_by_its_worst_organ_and_typical_by_all():
    scores = cohort() + [score(f"case_{n}", "liver", dice=0.0 if n == 9 else n / 10) for n in range(1, 10)]
    assert pictured_cases(scores, 3) == ["case_9", "case_1", "case_4"]  # mean of case 9 is 0.45, so is the median


def test_order_of_the_scores_does_not_matter():
    equal = [score(name, dice=0.5) for name in "cabde"]
    assert pictured_cases(equal, 3) == pictured_cases(equal[::-1], 3) == ["a", "b", "c"]


def test_without_dice_all_pictures_are_of_the_worst_cases():
    assert pictured_cases([score(n, hausdorff_mm=float(n)) for n in "123456"], 3) == ["6", "5", "4"]
