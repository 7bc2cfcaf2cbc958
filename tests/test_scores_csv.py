import csv
import math

import pytest

from medgan.errors import MedganError
from medgan.evaluation.scores import Score
from medgan.report.scores_csv import read_scores_csv, write_scores_csv

NAN = math.nan


def score(case_id="case_1", organ="heart", *, diagonal_mm=500.0, **values):
    """Return a score; what is not named here is a round number."""
    given = {"dice": 0.9, "hd95_mm": 3.0, "reference_ml": 10.0, "prediction_ml": 11.0} | values
    return Score(case_id, organ, given, diagonal_mm)


def same(a, b):
    return repr(a) == repr(b)  # NaN is not equal to itself, its text is


def test_scores_are_read_back_as_written(tmp_path):
    scores = [
        score("a", dice=1 / 3),
        score('b, "quoted"\n<i>', hd95_mm=NAN, prediction_ml=0.1, diagonal_mm=math.sqrt(2)),
    ]
    write_scores_csv(scores, tmp_path / "scores.csv")
    assert same(read_scores_csv(tmp_path / "scores.csv"), scores)


def test_columns_are_case_organ_metrics_in_order_and_diagonal(tmp_path):
    write_scores_csv([score()], tmp_path / "scores.csv")
    header, row = (tmp_path / "scores.csv").read_text().splitlines()
    assert header == "case_id,organ,dice,hd95_mm,reference_ml,prediction_ml,diagonal_mm"
    assert row == "case_1,heart,0.9,3.0,10.0,11.0,500.0"


def test_a_metric_that_only_some_scores_have_is_undefined_in_the_others(tmp_path):
    write_scores_csv([score("a"), score("b", iou=0.8)], tmp_path / "scores.csv")
    first, second = read_scores_csv(tmp_path / "scores.csv")
    assert math.isnan(first["iou"])
    assert second["iou"] == 0.8


def test_undefined_is_an_empty_cell(tmp_path):
    write_scores_csv([score(hd95_mm=NAN)], tmp_path / "scores.csv")
    (row,) = csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())
    assert row["hd95_mm"] == ""
    assert row["dice"] == "0.9"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'quoted", "'=1+1", '=a,"b'])
def test_no_text_cell_starts_like_a_formula(tmp_path, text):
    write_scores_csv([score(text, text)], tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["case_id"] == row["organ"] == f"'{text}"
    (read,) = read_scores_csv(tmp_path / "scores.csv")
    assert (read.case_id, read.organ) == (text, text)


def test_columns_that_are_no_metric_are_left_alone(tmp_path):
    (tmp_path / "scores.csv").write_text(
        "reader,case_id,organ,dice,reference_ml,prediction_ml,diagonal_mm\nme,a,heart,0.5,1,2,100\n"
    )
    (read,) = read_scores_csv(tmp_path / "scores.csv")
    assert read == Score("a", "heart", {"dice": 0.5, "reference_ml": 1.0, "prediction_ml": 2.0}, 100.0)


def test_scores_of_an_older_medgan_are_refused(tmp_path):
    (tmp_path / "scores.csv").write_text("case_id,organ,dice,reference_ml,prediction_ml\na,heart,0.5,1,2\n")
    with pytest.raises(MedganError, match=r"no column diagonal_mm: an older medgan .* Run `medgan evaluate` again\."):
        read_scores_csv(tmp_path / "scores.csv")


def test_missing_columns_are_named(tmp_path):
    (tmp_path / "scores.csv").write_text("case_id,dice\na,0.5\n")
    with pytest.raises(MedganError, match="missing: organ, reference_ml, prediction_ml, diagonal_mm"):
        read_scores_csv(tmp_path / "scores.csv")


def test_a_column_there_twice_is_refused(tmp_path):
    header = "case_id,organ,dice,dice,reference_ml,prediction_ml,diagonal_mm"
    (tmp_path / "scores.csv").write_text(header + "\n")
    with pytest.raises(MedganError, match="every column once; there twice: dice"):
        read_scores_csv(tmp_path / "scores.csv")


def test_every_bad_row_is_listed(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores_csv([score("a"), score("b"), score("c"), score("d"), score("e", hd95_mm=NAN)], path)
    header, first, _, third, fourth, fifth = path.read_text().splitlines()
    bad = [first.replace("0.9", "good"), "b,heart", third.replace("3.0", "inf"), fourth.replace("500.0", ""), fifth]
    path.write_text("\n".join([header, *bad, fifth]) + "\n")
    with pytest.raises(MedganError) as caught:
        read_scores_csv(path)
    assert str(caught.value).splitlines()[1:] == [
        "  - line 2: dice must be a number or empty, found 'good'.",
        "  - line 3: must have 7 cells like the header, found 2.",
        "  - line 4: hd95_mm must be a number or empty, found 'inf'.",
        "  - line 5: diagonal_mm must be a number, found ''.",
        "  - line 7: organ heart of case e is there twice.",
    ]


def test_a_missing_file_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(MedganError, match=r"scores .* could not be read: .*No such file.* Run `medgan evaluate` first"):
        read_scores_csv(tmp_path / "scores.csv")


def refusal_of(folder, column, cell):
    """Return what is told of a scores.csv whose only row has another text in one cell."""
    path = folder / "scores.csv"
    write_scores_csv([score(iou=0.8, volume_error_ml=-1.0, volume_error_percent=-10.0, reference_components=1.0)], path)
    header, row = (line.split(",") for line in path.read_text().splitlines())
    row[header.index(column)] = cell
    path.write_text(",".join(header) + "\n" + ",".join(row) + "\n")
    with pytest.raises(MedganError) as caught:
        read_scores_csv(path)
    return str(caught.value).removeprefix(f"scores {path}: ")


@pytest.mark.parametrize(
    ("column", "cell", "told"),
    [
        ("dice", "17", "line 2: dice must be from 0 to 1 or empty, found '17'."),
        ("iou", "-0.1", "line 2: iou must be from 0 to 1 or empty, found '-0.1'."),
        ("hd95_mm", "-3", "line 2: hd95_mm must be 0 or more or empty, found '-3'."),
        ("reference_ml", "-1", "line 2: reference_ml must be 0 or more, found '-1'."),
        ("reference_components", "-1", "line 2: reference_components must be 0 or more or empty, found '-1'."),
        ("volume_error_percent", "-101", "line 2: volume_error_percent must be -100 or more or empty, found '-101'."),
        ("diagonal_mm", "-5", "line 2: diagonal_mm must be 0 or more, found '-5'."),
        ("dice", "0_5", "line 2: dice must be a number or empty, found '0_5'."),
        ("dice", "٠.٥", "line 2: dice must be a number or empty, found '٠.٥'."),
        ("dice", "NaN", "line 2: dice must be a number or empty, found 'NaN'."),
        ("dice", "1e999", "line 2: dice must be a number or empty, found '1e999'."),
        ("case_id", "", "line 2: case_id must be text without null characters, found ''."),
        ("organ", "a\0", "line 2: organ must be text without null characters, found 'a\\x00'."),
    ],
)
def test_a_cell_that_no_evaluation_writes_is_refused(tmp_path, column, cell, told):
    assert refusal_of(tmp_path, column, cell) == told


def test_a_cell_too_many_is_refused(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores_csv([score("a"), score("b")], path)
    path.write_text(path.read_text().rstrip("\n") + ",1,2\n")
    with pytest.raises(MedganError, match=r"line 3: must have 7 cells like the header, found 9\.$"):
        read_scores_csv(path)


def test_the_line_of_a_bad_row_is_that_of_the_file(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores_csv([score("two\nlines"), score("b", dice=2.0)], path)
    path.write_text(path.read_text().replace("b,heart", "\nb,heart"))
    with pytest.raises(MedganError, match=r"line 5: dice"):
        read_scores_csv(path)


def test_cells_separated_by_semicolons_are_told(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores_csv([score()], path)
    path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(MedganError, match="must have cells separated by commas, found ';' in the header"):
        read_scores_csv(path)


def test_what_is_no_csv_is_refused(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text('case_id,organ\n"a')
    with pytest.raises(MedganError, match="must be CSV in UTF-8, but unexpected end of data"):
        read_scores_csv(path)
    path.write_text("")
    with pytest.raises(MedganError, match="missing: case_id, organ, reference_ml"):
        read_scores_csv(path)


def test_a_file_that_may_not_be_read_is_told_without_codes(tmp_path):
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(MedganError, match=r"scores\.csv could not be read: Is a directory\. Run"):
        read_scores_csv(tmp_path / "scores.csv")
