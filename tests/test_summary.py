import json
import math

import numpy as np
import pytest

from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.evaluation.scores import Score
from medgan.report.summary import read_summary, summarise, summarise_briefly, summarise_metric, write_summary

NAN = math.nan
COUNT, PENALISE = EvaluationConfig(), EvaluationConfig(undefined="penalise")
MISSED = {"dice": 0.0, "hd95_mm": NAN, "prediction_ml": 0.0}
INVENTED = {"dice": 0.0, "hd95_mm": NAN, "reference_ml": 0.0}
ABSENT = {"dice": NAN, "hd95_mm": NAN, "reference_ml": 0.0, "prediction_ml": 0.0}


def score(case_id="case_1", organ="heart", *, diagonal_mm=500.0, **values):
    """Return a score; what is not named here is a round number."""
    given = {"dice": 0.9, "hd95_mm": 3.0, "reference_ml": 10.0, "prediction_ml": 11.0} | values
    error = given["prediction_ml"] - given["reference_ml"]
    return Score(case_id, organ, {**given, "volume_error_ml": error}, diagonal_mm)


def dices(*values):
    return [score(f"c{i}", dice=value) for i, value in enumerate(values)]


def same(a, b):
    return repr(a) == repr(b)  # NaN is not equal to itself, its text is


def test_statistics_match_hand_arithmetic():
    summary = summarise_metric(dices(0.1, 0.2, NAN, 0.3, 0.6), "dice", undefined="count")
    assert (summary.n, summary.n_undefined, summary.n_penalised) == (4, 1, 0)
    assert summary.mean == pytest.approx(0.3)
    assert summary.sd == pytest.approx(math.sqrt((0.04 + 0.01 + 0 + 0.09) / 3))
    five = (summary.minimum, summary.q1, summary.median, summary.q3, summary.maximum)
    assert five == pytest.approx((0.1, 0.175, 0.25, 0.375, 0.6))


def test_undefined_values_are_counted_and_nothing_is_made_up():
    summary = summarise_metric(dices(NAN, NAN), "dice", undefined="count")
    assert (summary.n, summary.n_undefined, summary.worst_case) == (0, 2, "")
    assert np.isnan([summary.mean, summary.sd, summary.median, summary.mean_low, summary.median_low]).all()


def test_one_value_has_no_spread_and_no_interval():
    summary = summarise_metric(dices(0.5), "dice", undefined="count")
    assert (summary.mean, summary.median) == (0.5, 0.5)
    assert np.isnan([summary.sd, summary.mean_low, summary.mean_high]).all()


def test_interval_of_the_median_is_that_of_order_statistics():
    summary = summarise_metric(dices(*np.arange(9) / 10), "dice", undefined="count")
    assert (summary.median_low, summary.median, summary.median_high) == (0.1, 0.4, 0.7)


def test_interval_depends_on_values_and_seed_alone():
    values = np.random.default_rng(0).random(12).tolist()
    alone = summarise_metric(dices(*values), "dice", undefined="count", seed=1)
    assert alone.mean_low < alone.mean < alone.mean_high
    assert alone.mean_low != summarise_metric(dices(*values), "dice", undefined="count", seed=2).mean_low
    many = [score(f"c{i}", organ, dice=value) for organ in ("a", "b") for i, value in enumerate(values)]
    found = {organ.metrics["dice"].mean_low for organ in summarise(many, evaluation=COUNT, seed=1).organs}
    assert found == {alone.mean_low}


def test_the_order_of_cases_changes_nothing():
    rng = np.random.default_rng(2)
    scores = [score(f"c{i:02d}", dice=round(value, 1), prediction_ml=value) for i, value in enumerate(rng.random(30))]
    shuffled = [scores[i] for i in rng.permutation(30)]
    assert same(summarise(shuffled, evaluation=COUNT), summarise(scores, evaluation=COUNT))


@pytest.mark.parametrize(
    ("name", "values", "worst"),
    [
        ("dice", (0.8, 0.2, 0.2), "c1"),  # higher is better; the first of two
        ("hd95_mm", (8.0, NAN, 2.0), "c0"),
        ("volume_error_ml", (5.0, -7.0, 6.0), "c1"),  # better near zero
        ("reference_ml", (1.0, 2.0, 3.0), ""),  # not judged
    ],
)
def test_worst_case_is_named(name, values, worst):
    scores = [Score(f"c{i}", "heart", {**score().values, name: value}, 500.0) for i, value in enumerate(values)]
    assert summarise_metric(scores, name, undefined="count").worst_case == worst


def test_missed_invented_and_absent_organs_are_counted():
    scores = [score("a"), score("b", **MISSED), score("c", **INVENTED), score("d", **ABSENT)]
    (heart,) = summarise(scores, evaluation=COUNT).organs
    assert (heart.num_cases, heart.num_missed, heart.num_invented, heart.num_absent) == (4, 1, 1, 1)
    assert (heart.metrics["dice"].n, heart.metrics["dice"].n_undefined) == (3, 1)
    assert heart.metrics["dice"].mean == pytest.approx(0.3)
    assert (heart.metrics["hd95_mm"].n, heart.metrics["hd95_mm"].mean) == (1, 3.0)
    (line,) = summarise_briefly(summarise(scores, evaluation=COUNT))
    assert line == "heart  Dice 0.300 (n 3)  HD95 3.0 mm (n 1)  missed in 1  invented in 1"


def test_penalised_organs_count_with_the_diagonal_and_are_counted():
    scores = [score("a"), score("b", diagonal_mm=400.0, **MISSED), score("c", **INVENTED), score("d", **ABSENT)]
    summary = summarise(scores, evaluation=PENALISE)
    (heart,) = summary.organs
    hd95 = heart.metrics["hd95_mm"]
    assert (hd95.n, hd95.n_penalised, hd95.n_undefined) == (3, 2, 1)
    assert hd95.mean == (3.0 + 400.0 + 500.0) / 3
    assert hd95.worst_case == "c"
    assert heart.metrics["dice"].n_penalised == 0  # 0 is what it is by definition
    assert (summary.undefined, summary.penalty_mm) == ("penalise", (400.0, 500.0))
    (line,) = summarise_briefly(summary)
    assert line == "heart  Dice 0.300 (n 3)  HD95 301.0 mm (n 3, 2 penalised)  missed in 1  invented in 1"


def test_without_penalty_none_is_stated():
    assert summarise([score("b", **MISSED)], evaluation=COUNT).penalty_mm is None


def test_volumes_agree_as_bland_and_altman_have_it():
    scores = [score("a"), score("b", **MISSED), score("d", **ABSENT)]
    (heart,) = summarise(scores, evaluation=COUNT).organs
    assert heart.agreement is not None
    assert (heart.agreement.n, heart.agreement.bias) == (2, (1.0 - 10.0) / 2)  # a missed organ disagrees, an absent not


def test_an_organ_in_no_case_has_no_agreement():
    (heart,) = summarise([score(**ABSENT)], evaluation=COUNT).organs
    assert heart.agreement is None


def test_tolerance_surface_and_metrics_are_stated():
    settings = EvaluationConfig(surface="voxels", surface_tolerance_mm={"heart": 3.0, "default": 1.0})
    summary = summarise([score(organ="heart"), score(organ="aorta")], evaluation=settings)
    assert [(organ.organ, organ.tolerance_mm) for organ in summary.organs] == [("heart", 3.0), ("aorta", 1.0)]
    assert "voxels" in summary.surface_definition
    assert summary.metrics == ("dice", "hd95_mm", "reference_ml", "prediction_ml", "volume_error_ml")
    assert summary.evaluation["surface"] == "voxels"


def test_another_percentile_stands_in_for_hd95():
    values = {"dice": 0.5, "hausdorff_mm": 9.0, "hd99_mm": 7.25, "reference_ml": 1.0, "prediction_ml": 1.0}
    (line,) = summarise_briefly(summarise([Score("a", "heart", values, 500.0)], evaluation=COUNT))
    assert line == "heart  Dice 0.500 (n 1)  Hausdorff 9.0 mm (n 1)"
    del values["hausdorff_mm"], values["dice"]
    (line,) = summarise_briefly(summarise([Score("a", "heart", values, 500.0)], evaluation=COUNT))
    assert line == "heart  HD99 7.2 mm (n 1)"


def test_a_mean_of_nothing_is_called_undefined():
    (line,) = summarise_briefly(summarise([score(**MISSED)], evaluation=COUNT))
    assert line == "heart  Dice 0.000 (n 1)  HD95 undefined (n 0)  missed in 1"
    (line,) = summarise_briefly(summarise([score(**ABSENT)], evaluation=COUNT))
    assert line == "heart  Dice undefined (n 0)  HD95 undefined (n 0)"


def test_no_scores_are_refused():
    with pytest.raises(MedganError, match="at least one scored case"):
        summarise([], evaluation=COUNT)


def test_summary_is_read_back_as_written(tmp_path):
    summary = summarise(
        [score("a"), score("b", hd95_mm=NAN), score("b", "aorta", **ABSENT)],
        evaluation=PENALISE,
        not_evaluated={"c": "case c: no file."},
        settings={"prediction": "predictions"},
    )
    write_summary(summary, tmp_path / "summary.json")
    assert same(read_summary(tmp_path / "summary.json"), summary)
    document = json.loads((tmp_path / "summary.json").read_text())
    assert document["settings"] == {"prediction": "predictions", "bootstrap_seed": 0}
    assert document["not_evaluated"] == {"c": "case c: no file."}
    assert document["evaluation"] == PENALISE.model_dump(mode="json")
    assert document["penalty_mm"] == [500.0, 500.0]
    assert document["organs"]["aorta"]["metrics"]["dice"]["mean"] is None
    assert document["organs"]["aorta"]["agreement"] is None
    assert document["versions"]["numpy"] == np.__version__


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"organs": {"heart": {}}}', '{"organs": {}, "penalty_mm": null}'])
def test_what_is_no_summary_is_refused(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(MedganError, match="must be the JSON that `medgan evaluate` writes"):
        read_summary(tmp_path / "summary.json")


def test_settings_of_no_evaluation_are_refused(tmp_path):
    write_summary(summarise([score()], evaluation=COUNT), tmp_path / "summary.json")
    document = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps({**document, "evaluation": {"surface": "mesh"}}))
    with pytest.raises(MedganError, match="must be the JSON that `medgan evaluate` writes"):
        read_summary(tmp_path / "summary.json")


def test_a_summary_of_an_older_medgan_is_refused(tmp_path):
    (tmp_path / "summary.json").write_text('{"num_cases": 1, "organs": {"heart": {}}, "surface_tolerance_mm": 2.0}')
    with pytest.raises(MedganError, match=r"no section evaluation: an older medgan .* Run `medgan evaluate` again\."):
        read_summary(tmp_path / "summary.json")


def test_a_missing_file_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(MedganError, match=r"summary .* could not be read: No such file .*Run `medgan evaluate` first"):
        read_summary(tmp_path / "summary.json")


def tampered(folder, *keys, value, evaluation=COUNT):
    """Write a summary with another value in one place, and return its path."""
    path = folder / "summary.json"
    write_summary(summarise([score()], evaluation=evaluation), path)
    document = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    ("keys", "value", "found"),
    [
        (("settings",), None, "None as settings"),
        (("versions",), "x", "'x' as versions"),
        (("not_evaluated",), ["a"], "['a'] as not_evaluated"),
        (("num_cases",), "3", "'3' as num_cases"),
        (("penalty_mm",), [1], "no penalty_mm.1"),
        (("organs",), [], "[] as organs"),
        (("organs", "heart"), 5, "5 as organs.heart"),
        (("organs", "heart", "metrics"), {"dice": []}, "[] as organs.heart.metrics.dice"),
        (("organs", "heart", "metrics", "dice", "mean"), "good", "'good' as organs.heart.metrics.dice.mean"),
        (("organs", "heart", "agreement"), {"bias": 1.0}, "no organs.heart.agreement.n"),
        (("evaluation",), "x", "'x' as evaluation"),
        (("evaluation", "surface"), 5, "5 as evaluation.surface"),
        (("evaluation", "surface_tolerance_mm"), ["x"], "['x'] as evaluation.surface_tolerance_mm"),
        (("evaluation",), {"surface": "area"}, "no evaluation.percentiles"),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path, keys, value, found):
    path = tampered(tmp_path, *keys, value=value)
    with pytest.raises(MedganError) as caught:
        read_summary(path)
    assert str(caught.value) == (
        f"summary {path} must be the JSON that `medgan evaluate` writes, found {found}. Run `medgan evaluate` again."
    )


@pytest.mark.parametrize(
    ("name", "value", "made_with"),
    [
        ("undefined", "penalise", COUNT),
        ("undefined", "count", PENALISE),
        ("surface", "voxels", COUNT),
        ("surface_tolerance_mm", {"heart": 3.0}, COUNT),
    ],
)
def test_settings_that_the_numbers_were_not_made_with_are_refused(tmp_path, name, value, made_with):
    path = tampered(tmp_path, "evaluation", name, value=value, evaluation=made_with)
    with pytest.raises(MedganError) as caught:
        read_summary(path)
    assert f"found {value!r} as evaluation.{name}, with which it was not made. Run" in str(caught.value)


def test_a_part_that_is_missing_is_named_and_not_made_up(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(summarise([score()], evaluation=COUNT), path)
    document = json.loads(path.read_text())
    del document["versions"]
    path.write_text(json.dumps(document))
    with pytest.raises(MedganError, match="found no versions"):
        read_summary(path)


def test_organs_with_different_metrics_are_refused(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(summarise([score(), score(organ="aorta")], evaluation=COUNT), path)
    document = json.loads(path.read_text())
    del document["organs"]["aorta"]["metrics"]["dice"]
    path.write_text(json.dumps(document))
    with pytest.raises(MedganError, match="found other metrics of aorta than of heart"):
        read_summary(path)
