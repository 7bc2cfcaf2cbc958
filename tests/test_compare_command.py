import csv
import json

import pytest
from typer.testing import CliRunner

from medgan import pipeline
from medgan.cli import app
from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.evaluation.scores import Score
from medgan.evaluation.surface import SURFACES
from medgan.report.scores_csv import write_scores_csv
from medgan.report.summary import summarise, write_summary

DICES = {"unet": (0.5, 0.75, 0.5, 0.25), "gan": (0.75, 1.0, 0.5, 0.5), "atlas": (0.25, 0.25, 0.125, 0.125)}


@pytest.fixture
def evaluations(tmp_path):
    """Return the folders of three evaluations of four cases."""
    return [evaluated(tmp_path / name, dices) for name, dices in DICES.items()]


def evaluated(folder, dices, **evaluation):
    """Write an evaluation of the cases c0, c1, ... and return its folder."""
    scores = [
        Score(f"c{i}", "heart", {"dice": d, "hd95_mm": 3.0, "reference_ml": 10.0, "prediction_ml": 9.0}, 500.0)
        for i, d in enumerate(dices)
    ]
    folder.mkdir()
    write_scores_csv(scores, folder / "scores.csv")
    write_summary(summarise(scores, evaluation=EvaluationConfig(**evaluation)), folder / "summary.json")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_two_evaluations_are_compared_into_a_folder(tmp_path, evaluations):
    comparison = pipeline.compare(evaluations[:2], tmp_path / "out")
    assert (comparison.methods, comparison.metrics, comparison.num_cases) == (("unet", "gan"), ("dice", "hd95_mm"), 4)
    assert comparison.pairs[0].difference == 0.1875
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["pairs"][0]["difference"] == 0.1875
    assert document["settings"]["evaluations"] == {"unet": str(evaluations[0]), "gan": str(evaluations[1])}
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "gan" in page
    tables = sorted(path.suffix for path in (tmp_path / "out").rglob("comparison.*") if path.suffix != ".html")
    assert tables == [".csv", ".json", ".md", ".tex"]
    (found,) = (tmp_path / "out").rglob("comparison.csv")
    (row, _) = csv.DictReader(found.read_text().splitlines())
    assert (row["organ"], row["n"], float(row["difference"])) == ("heart", "4", 0.1875)


def test_surface_tolerance_and_penalty_are_stated_wherever_a_comparison_is(tmp_path):
    settings = {"surface": "voxels", "surface_tolerance_mm": 3.5, "undefined": "penalise"}
    folders = [evaluated(tmp_path / name, DICES[name], **settings) for name in ("unet", "gan")]
    pipeline.compare(folders, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert document["surface_definition"] == SURFACES["voxels"]
    assert (document["tolerances_mm"], document["penalty_mm"]) == ({"heart": 3.5}, [500.0, 500.0])
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "Tolerance</b> of surface Dice and boundary IoU: 3.5 mm." in page
    assert "the diagonal of the image (500 mm) for distances" in page
    surface = SURFACES["voxels"].rstrip(".")
    assert page.count(surface) == 2  # beside HD95, and among the definitions
    dice, hd95, *_ = (tmp_path / "out" / "tables" / "comparison.md").read_text().split("## ")[1:]
    assert f"Surface: {surface}." in hd95
    assert "Surface: " not in dice
    assert "(500 mm) for distances" in hd95


def test_all_judged_metrics_can_be_asked_for(tmp_path, evaluations):
    assert pipeline.compare(evaluations, tmp_path / "out", metrics=["all"]).metrics == ("dice", "hd95_mm")
    assert pipeline.compare(evaluations, tmp_path / "out", metrics=["dice"]).metrics == ("dice",)


def test_doubts_are_warned_of(tmp_path, evaluations):
    summary = json.loads((evaluations[0] / "summary.json").read_text())
    summary["versions"]["medgan"] = "0.0.1"
    (evaluations[0] / "summary.json").write_text(json.dumps(summary))
    with pytest.warns(UserWarning, match=r"unet was evaluated by medgan 0\.0\.1, .*gan by medgan"):
        pipeline.compare(evaluations[:2], tmp_path / "out")


def test_the_policy_is_that_of_the_evaluations_unless_said(tmp_path):
    a, b = (
        evaluated(tmp_path / "a", [0.5], undefined="penalise"),
        evaluated(tmp_path / "b", [0.5], undefined="penalise"),
    )
    assert pipeline.compare([a, b], tmp_path / "out").undefined == "penalise"
    assert pipeline.compare([a, b], tmp_path / "out", undefined="count").undefined == "count"


def test_the_command_prints_a_table_and_where_the_page_lies(tmp_path, evaluations):
    result = run(*evaluations[:2], "-o", tmp_path / "out", "--names", "U-Net, GAN", "--metrics", "dice")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "Dice: GAN against U-Net, higher is better"
    assert lines[2].split()[:5] == ["heart", "4", "0.500", "0.688", "+0.188"]
    assert lines[-1] == f"comparison   {tmp_path / 'out' / 'comparison.html'}"


def test_the_command_ranks_three_methods(tmp_path, evaluations):
    lines = run(*evaluations, "-o", tmp_path / "out", "--metrics", "dice").output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Ranking by Dice (4 cases"))
    assert [line.split()[:2] for line in lines[start + 2 : start + 5]] == [["1", "gan"], ["2", "unet"], ["3", "atlas"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metrics", "dise"], r"every method has \(dice, hd95_mm\), found dise"),
        (["--undefined", "drop"], "must be count or penalise, found 'drop'"),
        (["--names", "a,b,c"], "one per evaluation: 2, found 3: a, b, c"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, evaluations, options, message):
    result = run(*evaluations[:2], "-o", tmp_path / "out", *options)
    assert isinstance(result.exception, MedganError)
    with pytest.raises(MedganError, match=message):
        raise result.exception
    assert not (tmp_path / "out").exists()


def test_one_evaluation_is_refused(tmp_path, evaluations):
    with pytest.raises(MedganError, match="at least two methods, found 1"):
        pipeline.compare(evaluations[:1], tmp_path / "out")
