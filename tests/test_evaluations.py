import math
from dataclasses import replace

import pytest

from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.evaluation.compare import compare
from medgan.evaluation.scores import Score
from medgan.report.evaluations import doubts, metrics_by_default, names_of, policy_of, read_evaluations
from medgan.report.html import write_report
from medgan.report.scores_csv import write_scores_csv
from medgan.report.summary import read_summary, summarise, write_summary


def score(case_id="c0", organ="heart", **values):
    """Return a score; what is not named here is a round number."""
    given = {"dice": 0.9, "hd95_mm": 3.0, "reference_ml": 10.0, "prediction_ml": 11.0} | values
    return Score(case_id, organ, given, 500.0)


def evaluated(folder, *scores, settings=None, **evaluation):
    """Write an evaluation and return its folder."""
    scores = scores or (score(),)
    folder.mkdir(parents=True)
    write_scores_csv(scores, folder / "scores.csv")
    summary = summarise(scores, evaluation=EvaluationConfig(**evaluation), settings=settings)
    write_summary(summary, folder / "summary.json")
    return folder


def read_two(tmp_path, *, a=None, b=None):
    folders = [evaluated(tmp_path / "a", **(a or {})), evaluated(tmp_path / "b", **(b or {}))]
    return read_evaluations(folders)


def doubts_about(evaluations):
    return doubts(evaluations, compare({e.name: e.scores for e in evaluations}, metrics=["dice"]))


def test_evaluations_are_read_with_the_names_of_their_folders(tmp_path):
    a, b = read_two(tmp_path)
    assert (a.name, b.name, a.path) == ("a", "b", tmp_path / "a")
    assert a.scores == (score(),)
    assert repr(a.summary) == repr(read_summary(tmp_path / "a" / "summary.json"))  # NaN is not equal to itself


def test_a_scores_file_stands_for_its_folder(tmp_path):
    folders = [evaluated(tmp_path / name) for name in ("a", "b")]
    read = read_evaluations([folders[0] / "scores.csv", folders[1]], names=["unet", "gan"])
    assert [(e.name, e.path) for e in read] == [("unet", folders[0]), ("gan", folders[1])]


def test_names_take_as_many_parents_as_tell_folders_apart(tmp_path):
    assert names_of([tmp_path / "unet", tmp_path / "gan"]) == ["unet", "gan"]
    folders = [tmp_path / "unet" / "evaluation", tmp_path / "gan" / "evaluation"]
    assert names_of(folders) == ["unet/evaluation", "gan/evaluation"]
    assert names_of([tmp_path / "a" / "x" / "e", tmp_path / "b" / "x" / "e"]) == ["a/x/e", "b/x/e"]


def test_no_evaluation_is_compared_with_itself(tmp_path):
    folder = evaluated(tmp_path / "a")
    with pytest.raises(MedganError, match=r"each evaluation must be given once, found twice: .*a"):
        read_evaluations([folder, folder / "scores.csv"], names=["x", "y"])


@pytest.mark.parametrize(
    ("names", "message"), [(["x"], "one per evaluation: 2, found 1: x"), (["x", "x"], "each name .* twice: x")]
)
def test_names_that_do_not_fit_are_refused(tmp_path, names, message):
    folders = [evaluated(tmp_path / name) for name in ("a", "b")]
    with pytest.raises(MedganError, match=message):
        read_evaluations(folders, names=names)


def test_what_is_no_evaluation_is_refused(tmp_path):
    with pytest.raises(MedganError, match="nothing must be a folder that `medgan evaluate` wrote"):
        read_evaluations([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedganError, match=r"scores .*empty/scores.csv could not be read.* Run `medgan evaluate` first"):
        read_evaluations([tmp_path / "empty"])
    write_scores_csv([], tmp_path / "empty" / "scores.csv")
    with pytest.raises(MedganError, match="missing: reference_ml"):
        read_evaluations([tmp_path / "empty"])
    (tmp_path / "empty" / "scores.csv").write_text("case_id,organ,reference_ml,prediction_ml,diagonal_mm\n")
    with pytest.raises(MedganError, match="at least one case, found none"):
        read_evaluations([tmp_path / "empty"])


def test_evaluations_with_another_surface_are_refused(tmp_path):
    with pytest.raises(
        MedganError, match=r"the same surface to be compared, found area in .*a and voxels in .*b\. Run"
    ):
        read_two(tmp_path, b={"surface": "voxels"})


def test_evaluations_with_another_tolerance_are_refused(tmp_path):
    with pytest.raises(MedganError, match=r"same surface tolerance .* found heart 2 mm in .*a and heart 3 mm in .*b\."):
        read_two(tmp_path, b={"surface_tolerance_mm": 3.0})


def test_tolerances_written_in_another_way_are_the_same(tmp_path):
    assert len(read_two(tmp_path, b={"surface_tolerance_mm": {"heart": 2.0, "liver": 5.0}})) == 2


def test_further_percentiles_do_not_matter(tmp_path):
    assert len(read_two(tmp_path, b={"percentiles": [95, 99]})) == 2


def test_evaluations_with_another_policy_need_to_be_told_one(tmp_path):
    evaluations = read_two(tmp_path, b={"undefined": "penalise"})
    with pytest.raises(MedganError, match=r"found count in .*a and penalise in .*b\. Say --undefined count or"):
        policy_of(evaluations)
    assert policy_of(evaluations, wanted="count") == "count"
    assert policy_of(evaluations[1:]) == "penalise"
    with pytest.raises(MedganError, match="must be count or penalise, found 'drop'"):
        policy_of(evaluations, wanted="drop")


def test_dice_and_hd95_are_compared_by_default_or_what_there_is(tmp_path):
    evaluations = read_two(tmp_path)
    assert metrics_by_default(evaluations) == ["dice", "hd95_mm"]
    values = {"dice": 0.5, "hausdorff_mm": 9.0, "reference_ml": 1.0, "prediction_ml": 1.0}
    others = [replace(e, scores=(Score("c0", "heart", values, 500.0),)) for e in evaluations]
    assert metrics_by_default(others) == ["dice", "hausdorff_mm"]
    assert metrics_by_default([evaluations[0], others[0]]) == ["dice"]


def test_like_compared_with_like_raises_no_doubt(tmp_path):
    same = {"settings": {"reference_sha256": "aa"}}
    assert doubts_about(read_two(tmp_path, a=same, b=same)) == []


def test_other_references_and_versions_are_doubted(tmp_path):
    a, b = read_two(tmp_path, a={"settings": {"reference_sha256": "aa"}}, b={"settings": {"reference_sha256": "bb"}})
    (told,) = doubts_about([a, b])
    assert told == f"{a.path} and {b.path} were evaluated against different references."
    old = replace(b, summary=replace(b.summary, versions={"medgan": "0.0.1"}, settings={}))
    (told,) = doubts_about([a, old])
    assert told.endswith(f"{b.path} by medgan 0.0.1.")


def test_a_hash_over_other_cases_says_nothing_but_volumes_do(tmp_path):
    a = evaluated(tmp_path / "a", score("c0"), settings={"reference_sha256": "aa"})
    b = evaluated(tmp_path / "b", score("c0"), score("c1"), settings={"reference_sha256": "bb"})
    assert doubts_about(read_evaluations([a, b])) == []
    c = evaluated(tmp_path / "c", score("c0", reference_ml=12.0))
    (told,) = doubts_about(read_evaluations([a, c]))
    assert told == "the reference has not the same volume in every evaluation for 1 case: c0."


def test_undefined_values_survive_the_way_through_files(tmp_path):
    folder = evaluated(tmp_path / "a", score(hd95_mm=math.nan, prediction_ml=0.0))
    (read,) = read_evaluations([folder])
    assert math.isnan(read.scores[0]["hd95_mm"])
    assert read.scores[0].is_missed


def test_a_row_missing_from_the_scores_is_noticed(tmp_path):
    folder = evaluated(tmp_path / "a", *(score(case_id, organ) for case_id in "xyz" for organ in ("heart", "liver")))
    lines = (folder / "scores.csv").read_text().splitlines(keepends=True)
    (folder / "scores.csv").write_text("".join(lines[:-1]))
    found = r"found 3 cases of heart, liver \(2\) and 3 cases of heart, liver\. Run"
    with pytest.raises(MedganError, match=f"scores.csv and summary.json in .*a must be of one evaluation, {found}"):
        read_evaluations([folder])
    with pytest.raises(MedganError, match=found):
        write_report(folder)
