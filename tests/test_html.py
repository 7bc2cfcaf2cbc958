import math
import re
from html.parser import HTMLParser

import pytest
from test_summary import NAN, score

from medgan.errors import MedganError
from medgan.report.html import MAX_OVERLAYS, format_value, worst_first, write_report
from medgan.report.plots import strip_plot
from medgan.report.summary import summarise, write_scores_csv, write_summary

EVIL = "<script>alert(1)</script>"
PNG = bytes.fromhex("89504e470d0a1a0a")  # the page embeds what it finds; no picture is decoded


class Page(HTMLParser):
    """The page's text, tags and addresses as a browser sees them."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.addresses, self.ids = "", [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_data(self, data):
        self.text += f"{data.strip()} " if data.strip() else ""


def evaluation(folder, scores, *, pictures=(), **options):
    """Write what `medgan evaluate` leaves, and return the report's text."""
    write_scores_csv(scores, folder / "scores.csv")
    write_summary(summarise(scores, surface_tolerance_mm=2.5, **options), folder / "summary.json")
    for case_id in pictures:
        (folder / "overlays").mkdir(exist_ok=True)
        (folder / "overlays" / f"{case_id}.png").write_bytes(PNG)
    return write_report(folder).read_text(encoding="utf-8")


def test_report_stands_beside_the_scores(tmp_path):
    evaluation(tmp_path, [score()])
    assert (tmp_path / "report.html").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "scores.csv", "summary.json"]


def test_report_loads_nothing(tmp_path):
    html = evaluation(tmp_path, [score("a"), score("b")], pictures=["a"])
    addresses = Page(html).addresses
    assert addresses
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html


def test_only_the_pages_own_script_and_style_are_allowed_to_run(tmp_path):
    html = evaluation(tmp_path, [score(EVIL)])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1)
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-[\w+/]{43}='; script-src 'sha256-[\w+/]{43}='", policy
    )
    page = Page(html)
    assert (page.tags.count("script"), page.tags.count("style")) == (1, 1)


def test_text_from_outside_is_escaped_everywhere(tmp_path):
    html = evaluation(
        tmp_path,
        [score(EVIL, dice=0.0, hd95_mm=NAN, prediction_ml=0.0), score("b")],
        not_evaluated={f"{EVIL}2": f"{EVIL} is not there."},
        settings={f"{EVIL}3": EVIL},
        pictures=[EVIL.replace("/", "_")],
    )
    assert "<script>alert" not in html
    assert EVIL in Page(html).text


def test_undefined_missed_and_invented_are_told(tmp_path):
    scores = [
        score("case_a"),
        score("case_b", dice=0.0, hd95_mm=NAN, prediction_ml=0.0),
        score("case_c", dice=0.0, hd95_mm=NAN, reference_ml=0.0),
    ]
    text = Page(evaluation(tmp_path, scores)).text
    assert "heart missed in 1 of 3 cases: case_b" in text
    assert "heart invented in 1 of 3 cases: case_c" in text
    assert "n 1, 2 undefined" in text  # of HD95, beside its mean
    assert "3.00 ± – 3.00 [3.00, 3.00]" in text


def test_cases_that_were_not_evaluated_are_told_with_the_reason(tmp_path):
    text = Page(evaluation(tmp_path, [score()], not_evaluated={"case_9": "case case_9: no prediction."})).text
    assert "Not evaluated" in text
    assert "case case_9: no prediction." in text
    (tmp_path / "clean").mkdir()
    assert "Not evaluated" not in Page(evaluation(tmp_path / "clean", [score()])).text


def test_definitions_tolerance_and_settings_are_on_the_page(tmp_path):
    text = Page(evaluation(tmp_path, [score()], settings={"model": {"data_sha256": "8f2c"}})).text
    assert "Tolerance of the surface Dice: 2.5 mm" in text
    assert "Surface: boundary voxels" in text
    assert "2 |R ∩ P| / (|R| + |P|)." in text
    assert "model.data_sha256 8f2c" in text


def test_every_link_has_its_place(tmp_path):
    html = evaluation(tmp_path, [score("a"), score("a", "liver"), score("b"), score("b", "liver")], pictures=["b"])
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


def test_pictures_are_embedded_worst_case_first(tmp_path):
    scores = [score(f"case_{i:02d}", dice=0.5 + i / 100) for i in range(MAX_OVERLAYS + 3)][::-1]
    html = evaluation(tmp_path, scores, pictures=[s.case_id for s in scores])
    shown = re.findall(r'alt="Slices of (case_\d+)', html)
    assert shown == [f"case_{i:02d}" for i in range(MAX_OVERLAYS)]
    assert "3 more lie in the folder overlays" in html


def test_worst_scores_come_first_and_absent_organs_not_at_all():
    missed = score("missed", dice=0.0, hd95_mm=NAN, prediction_ml=0.0)
    far, near = (score(name, dice=0.5, hd95_mm=mm) for name, mm in (("far", 20.0), ("near", 4.0)))
    absent = score("absent", dice=NAN, hd95_mm=NAN, reference_ml=0.0, prediction_ml=0.0)
    assert [s.case_id for s in worst_first([score("good"), near, absent, far, missed])] == [
        "missed",
        "far",
        "near",
        "good",
    ]


def test_values_are_told_in_the_digits_of_their_unit():
    assert format_value(0.91249, "") == "0.912"
    assert format_value(-3.25001, "%") == "−3.3"
    assert format_value(-0.004, "mm") == "0.00"
    assert format_value(NAN, "ml") == "–"


def test_plot_draws_every_defined_case_where_its_value_is():
    scores = [score("a", dice=0.5), score("b", dice=1.0), score("c", dice=NAN)]
    plot = strip_plot("dice", scores, summarise(scores, surface_tolerance_mm=2.0))
    (strip,) = plot.strips
    ticks = {tick.text: tick.x for tick in plot.ticks}
    assert [(dot.case_id, dot.x) for dot in strip.dots] == [("a", ticks["0.5"]), ("b", ticks["1"])]
    assert strip.num_undefined == 1
    assert (ticks["0.5"], ticks["1"]) == (plot.left, plot.right)
    assert strip.box[1] == pytest.approx((plot.left + plot.right) / 2)


@pytest.mark.parametrize("values", [[NAN], [0.0, 0.0], [-3.0, -1.0], [1e-9], [12345.6, 3.0]])
def test_axis_holds_every_value(values):
    scores = [score(str(i), hd95_mm=value) for i, value in enumerate(values)]
    plot = strip_plot("hd95_mm", scores, summarise(scores, surface_tolerance_mm=2.0))
    assert 2 <= len(plot.ticks) <= 8
    assert all(plot.left <= dot.x <= plot.right for dot in plot.strips[0].dots)
    assert len(plot.strips[0].dots) == sum(not math.isnan(value) for value in values)


def test_missing_results_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(MedganError, match="there is no such folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(MedganError, match=r"scores\.csv could not be read"):
        write_report(tmp_path)
    write_scores_csv([score()], tmp_path / "scores.csv")
    with pytest.raises(MedganError, match=r"summary\.json could not be read"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_scores_and_summary_of_different_evaluations_are_refused(tmp_path):
    write_scores_csv([score(organ="liver")], tmp_path / "scores.csv")
    write_summary(summarise([score()], surface_tolerance_mm=2.0), tmp_path / "summary.json")
    with pytest.raises(MedganError, match="must be of one evaluation, found 1 cases of liver and 1 cases of heart"):
        write_report(tmp_path)
