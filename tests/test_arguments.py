"""Arguments of evaluate and compare that make no sense: told at once, in words."""

from pathlib import Path

import pytest
from phantoms import box_volume
from test_compare_command import evaluated

import medgan
from medgan import pipeline
from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.progress import Stage
from medgan.report.draw import remove_drawings
from medgan.volume.writers import write_volume


@pytest.fixture
def label(tmp_path: Path) -> Path:
    """Return the path of a label volume with the values 1, 2 and 3."""
    write_volume(box_volume((14, 12, 10), labels=True), tmp_path / "label.nii.gz")
    return tmp_path / "label.nii.gz"


def no_stage() -> Stage:
    def never(name: str) -> object:
        raise AssertionError(f"{name} has begun")

    return never  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"workers": 0}, r"^workers must be 1 or more, or None for one per core, found 0\.$"),
        ({"workers": -1}, r"^workers must be 1 or more, or None for one per core, found -1\.$"),
        ({"workers": 1.5}, r"^workers must be 1 or more, .* found 1\.5\.$"),
        ({"labels": 5}, r"^labels must be a labels file, a LabelMap, or such as 'heart=3,aorta=4', found 5\.$"),
        ({"labels": ""}, r"^labels must be a labels file, .*, found ''\.$"),
        ({"labels": {"heart": "x"}}, r"^labels: organ heart: value must be a whole number"),
        ({"settings": {"surface": "area"}}, r"^settings must be a medgan\.config\.EvaluationConfig, found \{'surface'"),
        ({"view": "label"}, r"^view must be a list, found 'label'\.$"),
        ({"view": 3}, r"^view must be a list, found 3\.$"),
    ],
)
def test_what_evaluate_cannot_take_is_told_before_anything_is_read(label, tmp_path, arguments, told):
    with pytest.raises(MedganError, match=told):
        medgan.evaluate(label, label, tmp_path / "out", stage=no_stage(), **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("evaluations", "arguments", "told"),
    [
        ([], {}, r"^a comparison needs at least two methods, found 0\.$"),
        ("om", {}, r"^evaluations must be a list, found 'om'\.$"),
        (Path("om"), {}, r"^evaluations must be a list, found PosixPath\('om'\)\.$"),
        (None, {"names": "ab"}, r"^names must be a list, found 'ab'\.$"),
        (None, {"names": ["a", ""]}, r"^names must not be empty, found 'a', ''\.$"),
        (None, {"metrics": "dice"}, r"^metrics must be a list, found 'dice'\.$"),
        (
            None,
            {"metrics": ["dice", "all"]},
            r"^metrics: 'all' takes every one, so it stands alone, found dice, all\.$",
        ),
    ],
)
def test_what_compare_cannot_take_is_told(tmp_path, evaluations, arguments, told):
    if evaluations is None:
        evaluations = [evaluated(tmp_path / name, [0.5, 0.75]) for name in ("a", "b")]
    with pytest.raises(MedganError, match=told):
        pipeline.compare(evaluations, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_labels_may_be_a_mapping(label, tmp_path):
    medgan.evaluate(
        label, label, tmp_path / "out", labels={"a": 1, "b": 2, "c": 3}, settings=EvaluationConfig(pictures=0)
    )
    assert (tmp_path / "out" / "scores.csv").read_text().splitlines()[1].startswith("label,a,1.0,")


@pytest.mark.parametrize("name", ["taken", "taken/inner", "holds_folder", "holds_file"])
def test_a_folder_that_cannot_hold_the_results_stops_an_evaluation_before_it_begins(label, tmp_path, name):
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "holds_folder" / "scores.csv").mkdir(parents=True)
    (tmp_path / "holds_file").mkdir()
    (tmp_path / "holds_file" / "overlays").write_text("a file")
    with pytest.raises(MedganError, match=r"cannot be a folder for results|is a folder where a file is to be written"):
        medgan.evaluate(label, label, tmp_path / name, stage=no_stage())


def test_a_folder_that_cannot_hold_the_results_stops_a_comparison_before_it_reads(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(MedganError, match=r"taken: cannot be a folder for results, as .*taken is none; choose another"):
        pipeline.compare([tmp_path / "no", tmp_path / "none"], tmp_path / "taken")


def test_nothing_behind_a_link_is_replaced(label, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "label").mkdir(parents=True)
    for path in (elsewhere / "label.png", elsewhere / "label" / "case.json"):
        path.write_text("precious")
    medgan.evaluate(label, label, tmp_path / "out", settings=EvaluationConfig(pictures=0))
    for name in ("overlays", "viewer"):
        (tmp_path / "out" / name).symlink_to(elsewhere)
        with pytest.raises(MedganError, match=f"{name}: is a link, behind which nothing is to be replaced; remove it"):
            medgan.evaluate(label, label, tmp_path / "out", stage=no_stage())
        remove_drawings(tmp_path / "out")
        (tmp_path / "out" / name).unlink()
    assert sorted(path.name for path in elsewhere.rglob("*")) == ["case.json", "label", "label.png"]
