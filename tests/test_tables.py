import csv
import math
import re
from dataclasses import replace

import pytest

from medgan.config import EvaluationConfig
from medgan.evaluation.compare import compare
from medgan.evaluation.metrics import METRICS, metric_named
from medgan.evaluation.scores import Score
from medgan.evaluation.surface import SURFACES
from medgan.report.comparison import compare_briefly
from medgan.report.comparison_html import write_comparison
from medgan.report.html import write_report
from medgan.report.scores_csv import write_scores_csv
from medgan.report.summary import INTERVAL, summarise, write_summary
from medgan.report.table_formats import Table, latex_text, to_latex, to_markdown
from medgan.report.tables import interval_text, measured_by, p_value_text, write_comparison_tables, write_tables

NAN = math.nan
EVIL = r"""a_b%c$d#e&f{g}h~i^j\k[l]*m"n`o|p<q>r--s"""


def score(case_id, organ="heart", **values):
    """Return a score; Dice, HD95 and volumes are given or perfect."""
    perfect = {"dice": 1.0, "hd95_mm": 0.0, "surface_dice": 1.0, "reference_ml": 500.0, "prediction_ml": 500.0}
    volume_error = {"volume_error_ml": values.get("prediction_ml", 500.0) - values.get("reference_ml", 500.0)}
    return Score(case_id, organ, {**perfect, **volume_error, **values}, 400.0)


def three_cases(organ="heart"):
    """Return a good, a bad and a missed case."""
    return [
        score("good", organ, dice=0.9, hd95_mm=2.0),
        score("bad", organ, dice=0.6, hd95_mm=8.0, prediction_ml=560.0),
        score("missed", organ, dice=0.0, hd95_mm=NAN, surface_dice=0.0, prediction_ml=0.0),
    ]


def summary_of(scores, **options):
    settings = {name: options.pop(name) for name in ("undefined", "surface_tolerance_mm") if name in options}
    return summarise(scores, evaluation=EvaluationConfig(**settings), **options)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def row_of(text, organ):
    """Return the cells of an organ's row in the first Markdown table that has it."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {organ} |"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def check_latex(text):
    """Fail unless rows have as many cells as columns, environments and braces close, and only known commands occur."""
    known = {"usepackage", "begin", "end", "caption", "label", "centering", "footnotesize", "setlength", "tabcolsep"}
    known |= {"toprule", "midrule", "bottomrule", "endhead", "endfirsthead", "endfoot"}
    known |= {"textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar"}
    known |= {"pm", "times", "cdot", "cap", "cup", "leq", "geq", "tau"}
    body = text.partition("\n")[2]
    assert set(re.findall(r"\\([A-Za-z]+)", body)) <= known
    plain = re.sub(r"\\[^A-Za-z]|\\[A-Za-z]+", "", re.sub(r"(?<!\\)\$[^$]{1,9}\$", "", body))
    assert plain.count("{") == plain.count("}")
    assert not set(plain) & set("#%_^~$")
    for environment in ("table", "tabular", "longtable"):
        assert body.count(rf"\begin{{{environment}}}") == body.count(rf"\end{{{environment}}}")
    for columns, table in re.findall(
        r"\\begin\{(?:tabular|longtable)\}\{(\w+)\}(.*?)\\end\{(?:tabular|longtable)", body, re.S
    ):
        for line in (line for line in table.splitlines() if line.endswith(r" \\")):
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1


def test_summary_is_written_in_every_form(tmp_path):
    written = write_tables(summary_of(three_cases()), tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in written] == [
        "tables/summary.csv",
        "tables/agreement.csv",
        "tables/summary.md",
        "tables/summary.tex",
    ]
    assert all(path.stat().st_size for path in written)


def test_csv_has_every_number_of_an_organ_and_metric(tmp_path):
    write_tables(summary_of(three_cases(), surface_tolerance_mm={"heart": 3}), tmp_path)
    rows = {row["metric"]: row for row in rows_of(tmp_path / "tables" / "summary.csv")}
    hd95 = rows["hd95_mm"]
    assert (hd95["organ"], hd95["unit"], hd95["n"], hd95["n_undefined"], hd95["n_penalised"]) == (
        "heart",
        "mm",
        "2",
        "1",
        "0",
    )
    assert (float(hd95["mean"]), float(hd95["median"]), float(hd95["minimum"]), float(hd95["maximum"])) == (5, 5, 2, 8)
    assert (hd95["worst_case"], hd95["num_missed"], hd95["tolerance_mm"]) == ("bad", "1", "3.0")
    assert rows["reference_ml"]["worst_case"] == ""
    (agreement,) = rows_of(tmp_path / "tables" / "agreement.csv")
    assert float(agreement["bias"]) == pytest.approx((0 + 60 - 500) / 3)


def test_undefined_numbers_are_empty_cells(tmp_path):
    write_tables(summary_of([score("only")]), tmp_path)
    row = rows_of(tmp_path / "tables" / "summary.csv")[0]
    assert (row["mean"], row["sd"], row["mean_low"]) == ("1.0", "", "")


def test_a_spreadsheet_finds_no_formula(tmp_path):
    write_tables(summary_of([score("=1+1", "=HYPERLINK()")]), tmp_path)
    row = rows_of(tmp_path / "tables" / "summary.csv")[0]
    assert (row["organ"], row["worst_case"]) == ("'=HYPERLINK()", "'=1+1")


def test_markdown_has_the_counts_beside_every_mean(tmp_path):
    write_tables(summary_of(three_cases()), tmp_path)
    dice, hd95 = (tmp_path / "tables" / "summary.md").read_text(encoding="utf-8").split("## ")[1:3]
    assert row_of(dice, "heart")[:4] == ["heart", "3 (0)", "1/0/0", "0.500 ± 0.458"]
    assert row_of(hd95, "heart")[:4] == ["heart", "2 (1)", "1/0/0", "5.00 ± 4.24"]
    assert "| n (undefined) | m/i/a |" in hd95
    assert "m/i/a: cases in which the organ was missed, invented, or in neither volume." in hd95
    assert "Undefined: heart 1." in hd95


def test_notes_name_definition_surface_tolerance_and_interval(tmp_path):
    write_tables(summary_of(three_cases() + three_cases("liver"), surface_tolerance_mm={"heart": 3}), tmp_path)
    text = (tmp_path / "tables" / "summary.tex").read_text(encoding="utf-8")
    caption = next(line for line in text.splitlines() if line.startswith(r"\caption{Surface Dice"))
    assert "3 cases. Share of the area of both surfaces" in caption
    assert f"Surface: {latex_text(SURFACES['area'].rstrip('.'))}." in caption
    assert "Tolerance: heart 3 mm, liver 2 mm." in caption
    assert f"Interval: {latex_text(INTERVAL)}. Those of the median are in summary.csv." in caption
    assert "Undefined values are left out of the means and counted." in caption


def test_boundary_iou_depends_on_the_tolerance_and_not_on_the_surface():
    definition, tolerances = SURFACES["area"], {"heart": 3.0, "liver": 1.5}
    assert measured_by("boundary_iou", definition, tolerances) == ["Tolerance: heart 3 mm, liver 1.5 mm."]
    assert measured_by("surface_dice", definition, {"heart": 2.0}) == [
        f"Surface: {definition.rstrip('.')}.",
        "Tolerance: 2 mm.",
    ]
    assert [len(measured_by(name, definition, tolerances)) for name in ("dice", "hd95_mm", "volume_error_ml")] == [
        0,
        1,
        0,
    ]


def test_diagonals_have_the_same_digits_in_tables_and_on_pages(tmp_path):
    scores = [replace(one, diagonal_mm=mm) for one, mm in zip(three_cases(), (36.7238, 50.0, 80.5831), strict=True)]
    summary = summary_of(scores, undefined="penalise")
    write_tables(summary, tmp_path)
    write_scores_csv(scores, tmp_path / "scores.csv")
    write_summary(summary, tmp_path / "summary.json")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    for text in (page, (tmp_path / "tables" / "summary.md").read_text(encoding="utf-8")):
        assert "the diagonal of the image (36.7 to 80.6 mm)" in text
    assert "36.7238 to" not in page


def test_penalties_are_counted_and_stated(tmp_path):
    write_tables(summary_of(three_cases(), undefined="penalise"), tmp_path)
    hd95 = (tmp_path / "tables" / "summary.md").read_text(encoding="utf-8").split("## ")[2]
    assert row_of(hd95, "heart")[:4] == ["heart", "3 (0, 1)", "1/0/0", "136.67 ± 228.07"]  # 2, 8 and 400 mm
    assert "the diagonal of the image (400 mm) for distances" in hd95
    assert "Penalised: heart 1." in hd95


def test_cases_that_were_not_evaluated_are_told(tmp_path):
    write_tables(summary_of(three_cases(), not_evaluated={"x": "no prediction"}), tmp_path)
    text = (tmp_path / "tables" / "summary.md").read_text(encoding="utf-8")
    assert "Not evaluated, and in none of these numbers: 1 case." in text


@pytest.mark.parametrize("organ", [EVIL, "=1", "[x]", "*", "a\nb\r\x00c", r"\input{/etc/passwd}", "%", "", "$x$"])
def test_latex_and_markdown_hold_whatever_the_names_are(tmp_path, organ):
    write_tables(summary_of(three_cases(organ), undefined="penalise"), tmp_path)
    check_latex((tmp_path / "tables" / "summary.tex").read_text(encoding="utf-8"))
    markdown = (tmp_path / "tables" / "summary.md").read_text(encoding="utf-8")
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows if "±" in row} == {8}
    assert "<q>" not in markdown


def test_a_strict_check_finds_broken_latex():
    table = Table("t", "Title", "Notes.", ("a", "b"), (("x", "y"),))
    check_latex(to_latex([table]))
    for good, bad in (("x & y", "x & y & z"), ("x & y", "x_1 & y"), ("x & y", r"x & \input"), ("{Title", "{{Title")):
        with pytest.raises(AssertionError):
            check_latex(to_latex([table]).replace(good, bad))


def test_long_tables_break_over_pages():
    table = Table("t", "Title", "Notes.", ("a", "b"), tuple((f"organ_{i}", "1") for i in range(100)))
    text = to_latex([table])
    check_latex(text)
    assert text.startswith("% \\usepackage{booktabs,longtable}; names beyond Latin letters need lualatex or xelatex\n")
    assert text.count("\\begin{longtable}{lr}") == 1


def test_every_definition_can_be_printed_by_plain_latex():
    texts = [text for metric in METRICS.values() for text in (metric.title, metric.definition)]
    texts += [metric_named("hd95_mm").definition, *SURFACES.values(), "0.912 ± 0.031", "−3 – 4"]
    assert [text for text in texts if not latex_text(text).isascii()] == []


def test_names_stand_in_markdown_as_they_are():
    table = Table("t", "T", "N.", ("organ", "n"), (("left_lung", "_x_"), ("a|b*c", "<script>&")))
    assert to_markdown([table]).splitlines()[4:6] == [
        r"| left_lung | \_x\_ |",
        r"| a\|b\*c | &lt;script&gt;&amp; |",
    ]


def test_four_cases_have_no_interval_in_print_and_five_have(tmp_path):
    scores = methods("unet", "gan")
    for n, interval in ((4, "–"), (5, "0.100 to 0.100")):
        comparison = compare({name: of_method[:n] for name, of_method in scores.items()}, metrics=["dice"])
        folder = tmp_path / str(n)
        write_comparison_tables(comparison, folder)
        write_tables(summary_of(scores["unet"][:n]), folder)
        page = write_comparison(comparison, folder).read_text(encoding="utf-8")
        assert row_of((folder / "tables" / "comparison.md").read_text(encoding="utf-8"), "heart")[5] == interval
        assert (row_of((folder / "tables" / "summary.md").read_text(encoding="utf-8"), "heart")[4] == "–") == (n < 5)
        assert ("[0.100, 0.100]" in page) == ("(+0.100 to +0.100)" in compare_briefly(comparison)[2]) == (n >= 5)
        assert rows_of(folder / "tables" / "comparison.csv")[0]["difference_low"]  # for whoever computes on


def test_small_p_values_and_missing_intervals_are_told_as_such():
    assert [p_value_text(p) for p in (0.0004, 0.0312, 1.0, NAN)] == ["< 0.001", "0.031", "1.000", "–"]
    assert interval_text(0.5, 0.75, "") == "0.500 to 0.750"
    assert interval_text(NAN, NAN, "mm") == "–"


def methods(*names):
    """Return the scores of methods of which each is better than the one before by 0.1 Dice, in six cases."""
    return {
        name: [score(f"case_{i}", dice=0.2 + 0.01 * i + 0.1 * rank, hd95_mm=9.0 - rank) for i in range(6)]
        for rank, name in enumerate(names)
    }


def test_comparison_is_written_in_every_form(tmp_path):
    written = write_comparison_tables(compare(methods("unet", "gan"), metrics=["dice"]), tmp_path)
    names = [path.name for path in written]
    assert names == ["comparison.csv", "means.csv", "comparison.md", "comparison.tex"]
    (row,) = rows_of(tmp_path / "tables" / "comparison.csv")
    assert (row["a"], row["b"], row["n"], row["num_better"], row["num_worse"]) == ("unet", "gan", "6", "6", "0")
    assert float(row["difference"]) == pytest.approx(0.1)
    assert float(row["wilcoxon_p"]) == pytest.approx(2 / 2**6)
    assert "case_ids" not in row
    means = rows_of(tmp_path / "tables" / "means.csv")
    assert [(row["method"], row["n"]) for row in means] == [("unet", "6"), ("gan", "6")]


def test_comparison_names_method_difference_and_tests(tmp_path):
    write_comparison_tables(compare(methods("unet", "gan"), metrics=["dice", "hd95_mm"]), tmp_path)
    dice, hd95 = (tmp_path / "tables" / "comparison.md").read_text(encoding="utf-8").split("## ")[1:3]
    assert dice.startswith("Dice: gan against unet")
    assert row_of(dice, "heart") == [
        "heart",
        "6 (0)",
        "0.225",
        "0.325",
        "0.100",
        "0.100 to 0.100",
        "0.031",
        "0.031",
        "1.00",
        "6/0/0",
    ]
    assert "Difference: gan minus unet; higher is better." in dice
    assert "corrected: Holm, per metric and test" in dice
    assert row_of(hd95, "heart")[4] == "−1.00"
    check_latex((tmp_path / "tables" / "comparison.tex").read_text(encoding="utf-8"))


def test_cases_undefined_on_one_side_are_counted_and_named(tmp_path):
    scores = methods("unet", "gan")
    scores["gan"][2] = score("case_2", dice=0.0, hd95_mm=NAN, prediction_ml=0.0)
    write_comparison_tables(compare(scores, metrics=["hd95_mm"]), tmp_path)
    (row,) = rows_of(tmp_path / "tables" / "comparison.csv")
    assert (row["n"], row["undefined_a"], row["undefined_b"], row["num_undefined_b"]) == ("5", "", "case_2", "1")
    assert row_of((tmp_path / "tables" / "comparison.md").read_text(encoding="utf-8"), "heart")[1] == "5 (1)"


def test_more_than_two_methods_are_ranked(tmp_path):
    written = write_comparison_tables(compare(methods("c", "b", "a"), metrics=["dice"]), tmp_path)
    assert "ranking.csv" in [path.name for path in written]
    rows = rows_of(tmp_path / "tables" / "ranking.csv")
    assert [(row["method"], row["rank"], row["share_of_rank_1"]) for row in rows] == [
        ("a", "1", "1.0"),
        ("b", "2", "0.0"),
        ("c", "3", "0.0"),
    ]
    text = (tmp_path / "tables" / "comparison.md").read_text(encoding="utf-8")
    assert row_of(text.partition("## Ranking")[2], "a") == ["a", "1", "1.00", "100%", "0%", "0%"]


def test_method_names_are_as_harmless_as_organs(tmp_path):
    write_comparison_tables(compare(methods(EVIL, "=2", "[a]*"), metrics=["dice"]), tmp_path)
    check_latex((tmp_path / "tables" / "comparison.tex").read_text(encoding="utf-8"))
    assert {row["a"] for row in rows_of(tmp_path / "tables" / "comparison.csv")} == {EVIL, "'=2"}
