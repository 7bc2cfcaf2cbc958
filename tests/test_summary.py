import csv
import json
import math

import numpy as np
import pytest

from medgan.errors import MedganError
from medgan.evaluation.scores import METRICS, Score
from medgan.report.summary import (
    read_scores_csv,
    read_summary,
    summarise,
    summarise_briefly,
    summarise_values,
    write_scores_csv,
    write_summary,
)

NAN = math.nan
TOLERANCE = {"surface_tolerance_mm": 2.0}


def score(case_id="case_1", organ="heart", *, dice=0.9, hd95_mm=3.0, reference_ml=10.0, prediction_ml=11.0):
    """Return a score; what is not named here is a round number."""
    return Score(
        case_id,
        organ,
        dice,
        0.8,
        9.0,
        hd95_mm,
        1.0,
        0.7,
        reference_ml,
        prediction_ml,
        prediction_ml - reference_ml,
        NAN,
    )


def same(a, b):
    return repr(a) == repr(b)  # NaN is not equal to itself, its text is


def test_statistics_match_hand_arithmetic():
    summary = summarise_values([1.0, 2.0, NAN, 3.0, 6.0])
    assert (summary.n, summary.n_undefined) == (4, 1)
    assert summary.mean == 3.0
    assert summary.sd == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert (summary.minimum, summary.q1, summary.median, summary.q3, summary.maximum) == (1, 1.75, 2.5, 3.75, 6)


def test_undefined_values_are_counted_and_nothing_is_made_up():
    summary = summarise_values([NAN, NAN])
    assert (summary.n, summary.n_undefined) == (0, 2)
    assert np.isnan([summary.mean, summary.sd, summary.median, summary.mean_low]).all()


def test_one_value_has_no_spread_and_no_interval():
    summary = summarise_values([0.5])
    assert (summary.mean, summary.median) == (0.5, 0.5)
    assert np.isnan([summary.sd, summary.mean_low, summary.mean_high]).all()


def test_interval_of_the_mean_is_that_of_normal_theory_for_many_values():
    values = np.random.default_rng(3).normal(10, 2, size=400)
    summary = summarise_values(values.tolist())
    half_width = 1.96 * summary.sd / math.sqrt(400)
    assert summary.mean_low == pytest.approx(summary.mean - half_width, abs=0.05)
    assert summary.mean_high == pytest.approx(summary.mean + half_width, abs=0.05)


def test_interval_depends_on_values_and_seed_alone():
    values = np.random.default_rng(0).random(12).tolist()
    assert summarise_values(values, seed=1) == summarise_values(values, seed=1)
    assert summarise_values(values, seed=1).mean_low != summarise_values(values, seed=2).mean_low
    many = summarise([score(f"c{i}", organ, dice=d) for organ in ("a", "b") for i, d in enumerate(values)], **TOLERANCE)
    assert {organ.metrics["dice"].mean_low for organ in many.organs} == {summarise_values(values).mean_low}


def test_missed_invented_and_absent_organs_are_counted():
    scores = [
        score("a"),
        score("b", dice=0.0, hd95_mm=NAN, prediction_ml=0.0),
        score("c", dice=0.0, hd95_mm=NAN, reference_ml=0.0),
        score("d", dice=NAN, hd95_mm=NAN, reference_ml=0.0, prediction_ml=0.0),
    ]
    (heart,) = summarise(scores, **TOLERANCE).organs
    assert (heart.num_cases, heart.num_missed, heart.num_invented, heart.num_absent) == (4, 1, 1, 1)
    assert (heart.metrics["dice"].n, heart.metrics["dice"].n_undefined) == (3, 1)
    assert heart.metrics["dice"].mean == pytest.approx(0.3)
    assert (heart.metrics["hd95_mm"].n, heart.metrics["hd95_mm"].mean) == (1, 3.0)
    (line,) = summarise_briefly(summarise(scores, **TOLERANCE))
    assert line == "heart  Dice 0.300 (n 3)  HD95 3.0 mm (n 1)  missed in 1  invented in 1"


def test_no_scores_are_refused():
    with pytest.raises(MedganError, match="at least one scored case"):
        summarise([], **TOLERANCE)


def test_summary_is_read_back_as_written(tmp_path):
    summary = summarise(
        [score("a"), score("b", hd95_mm=NAN)],
        surface_tolerance_mm=1.5,
        not_evaluated={"c": "case c: no file."},
        settings={"prediction": "predictions"},
    )
    write_summary(summary, tmp_path / "summary.json")
    assert same(read_summary(tmp_path / "summary.json"), summary)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert document["surface_tolerance_mm"] == 1.5
    assert document["surface_definition"].startswith("boundary voxels")
    assert document["settings"] == {"prediction": "predictions", "bootstrap_seed": 0}
    assert document["not_evaluated"] == {"c": "case c: no file."}
    assert set(document["organs"]["heart"]["metrics"]) == set(METRICS)
    assert document["organs"]["heart"]["metrics"]["volume_error_percent"]["mean"] is None
    assert document["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"organs": {"heart": {}}}', '{"organs": {}, "colour": 1}'])
def test_what_is_no_summary_is_refused(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(MedganError, match="must be the JSON that `medgan evaluate` writes"):
        read_summary(tmp_path / "summary.json")


def test_missing_files_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(MedganError, match=r"summary .* could not be read: No such file .*Run `medgan evaluate` first"):
        read_summary(tmp_path / "summary.json")
    with pytest.raises(MedganError, match=r"scores .* could not be read: .*No such file"):
        read_scores_csv(tmp_path / "scores.csv")


def test_scores_are_read_back_as_written(tmp_path):
    scores = [score("a", dice=1 / 3), score('b, "quoted"\n<i>', hd95_mm=NAN, prediction_ml=0.1)]
    write_scores_csv(scores, tmp_path / "scores.csv")
    assert same(read_scores_csv(tmp_path / "scores.csv"), scores)


def test_undefined_is_an_empty_cell(tmp_path):
    write_scores_csv([score(hd95_mm=NAN)], tmp_path / "scores.csv")
    (row,) = csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())
    assert row["hd95_mm"] == ""
    assert row["dice"] == "0.9"


@pytest.mark.parametrize("case_id", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted", "'=1+1", '=a,"b'])
def test_no_text_cell_starts_like_a_formula(tmp_path, case_id):
    write_scores_csv([score(case_id)], tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["case_id"] == f"'{case_id}"
    assert read_scores_csv(tmp_path / "scores.csv")[0].case_id == case_id


def test_missing_columns_are_named(tmp_path):
    (tmp_path / "scores.csv").write_text("case_id,organ,dice\na,heart,0.5\n")
    with pytest.raises(MedganError, match="missing: iou, hausdorff_mm, hd95_mm"):
        read_scores_csv(tmp_path / "scores.csv")


def test_every_bad_row_is_listed(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores_csv([score("a"), score("b"), score("c")], path)
    header, first, _, third = path.read_text().splitlines()
    path.write_text("\n".join([header, first.replace("0.9", "good", 1), "b,heart", third]) + "\n")
    with pytest.raises(
        MedganError, match=r"(?s)2 problems.*line 2: dice must be a number .*'good'.*line 3: column dice"
    ):
        read_scores_csv(path)
