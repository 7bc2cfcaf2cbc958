import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from test_summary import ABSENT, COUNT, INVENTED, MISSED, NAN, PENALISE, score

from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.labels import LabelMap
from medgan.pipeline import report
from medgan.report.html import write_report
from medgan.report.page import format_value, inline_hash, json_for_page, policy
from medgan.report.page_data import page_data
from medgan.report.ranking import pictured_cases
from medgan.report.scores_csv import write_scores_csv
from medgan.report.summary import summarise, write_summary
from medgan.report.viewer import write_viewer_volumes
from medgan.volume.volume import Volume

EVIL = "<script>alert(1)</script>"
PNG = bytes.fromhex("89504e470d0a1a0a")  # the page embeds what it finds; no picture is decoded
WITHOUT_TEXT = ("script", "style")


class Page(HTMLParser):
    """The page as a browser without JavaScript sees it: text, tags, attributes, and what stands in inline parts."""

    def __init__(self, html):
        super().__init__()
        self.text, self.attributes, self.parts = "", [], []
        self._inside = None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value) for name, value in attributes]
        self._inside = (tag, dict(attributes)) if tag in WITHOUT_TEXT else None

    def handle_endtag(self, tag):
        self._inside = None if tag in WITHOUT_TEXT else self._inside

    def handle_data(self, data):
        if self._inside:
            self.parts.append((*self._inside, data))
        else:
            self.text += " ".join(data.split()) + " " if data.strip() else ""

    def values(self, *names):
        return [value for _, name, value in self.attributes if name in names]

    @property
    def policy(self):
        return next(v for v in self.values("content") if "default-src" in v)

    @property
    def data(self):
        return next(json.loads(text) for tag, own, text in self.parts if own.get("id") == "scores")


def page_of(folder, scores, *, pictures=(), evaluation=COUNT, **options):
    """Write what `medgan evaluate` leaves, and return the report's page."""
    return Page(html_of(folder, scores, pictures=pictures, evaluation=evaluation, **options))


def html_of(folder, scores, *, pictures=(), evaluation=COUNT, **options):
    folder.mkdir(exist_ok=True)
    write_scores_csv(scores, folder / "scores.csv")
    write_summary(summarise(scores, evaluation=evaluation, **options), folder / "summary.json")
    for case_id in pictures:
        (folder / "overlays").mkdir(exist_ok=True)
        (folder / "overlays" / f"{case_id}.png").write_bytes(PNG)
    return write_report(folder).read_text(encoding="utf-8")


def test_report_stands_beside_the_scores(tmp_path):
    page_of(tmp_path, [score()])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "scores.csv", "summary.json"]


def test_report_loads_nothing(tmp_path):
    html = html_of(tmp_path, [score("a"), score("b")], pictures=["a"])
    addresses = Page(html).values("src", "href", "action", "data")
    assert any(address.startswith("data:image/png;base64,") for address in addresses)
    assert all(address.startswith(("#", "data:image/png;base64,", "data:,")) for address in addresses)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)


def test_policy_admits_the_pages_own_script_and_style_and_nothing_else(tmp_path):
    page = page_of(tmp_path, [score(EVIL)])
    runs = [text for tag, own, text in page.parts if tag == "script" and own.get("type") != "application/json"]
    (style,) = (text for tag, _, text in page.parts if tag == "style")
    assert page.policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {inline_hash(style)}; script-src {' '.join(map(inline_hash, runs))}"
    )


def test_page_needs_nothing_that_its_policy_forbids(tmp_path):
    page = page_of(tmp_path, [score("a"), score("b", **MISSED)], pictures=["a"], not_evaluated={"c": "no file."})
    assert not [name for _, name, _ in page.attributes if name == "style" or name.startswith("on")]


def test_text_from_outside_is_escaped_everywhere(tmp_path):
    html = html_of(
        tmp_path,
        [score(EVIL, EVIL, **MISSED), score("b", EVIL)],
        not_evaluated={f"{EVIL}2": f"{EVIL} is not there."},
        settings={f"{EVIL}3": EVIL},
        pictures=[EVIL.replace("/", "_")],
    )
    page = Page(html)
    assert "<script>alert" not in html
    assert page.text.count(EVIL) > 5
    assert (page.data["cases"][0], page.data["organs"]) == (EVIL, [EVIL])


def test_numbers_of_the_page_are_those_of_the_scores():
    scores = [score("a", dice=1 / 3), score("b", **MISSED), score("c", **INVENTED), score("d", **ABSENT)]
    data = page_data([*scores, score("a", "liver")], summarise([*scores, score("a", "liver")], evaluation=COUNT))
    dice, hd95 = (next(i for i, m in enumerate(data["metrics"]) if m["name"] == name) for name in ("dice", "hd95_mm"))
    assert data["cases"] == ["a", "b", "c", "d"]
    assert data["status"] == [".mia", ".---"]
    assert data["values"][dice] == [[0.333333, 0.0, 0.0, None], [0.9, None, None, None]]
    assert data["values"][hd95] == [[3.0, None, None, None], [3.0, None, None, None]]
    assert data["boxes"][dice] == [[0.0, 0.0, 0.166667], [0.9, 0.9, 0.9]]
    assert data["agreement"][0]["n"] == 3
    assert data["diagonals"] is None


def test_penalty_of_each_case_is_on_the_page_where_it_counts():
    scores = [score("a", diagonal_mm=400.0), score("b", **MISSED)]
    data = page_data(scores, summarise(scores, evaluation=PENALISE))
    assert data["diagonals"] == [400.0, 500.0]
    hd95 = next(m for m in data["metrics"] if m["name"] == "hd95_mm")
    assert (hd95["worst"], hd95["unit"], hd95["decimals"]) == ("diagonal", "mm", 2)


def test_mean_stands_with_its_interval_and_its_count(tmp_path):
    scores = [score("case_a"), score("case_b", **MISSED), score("case_c", **INVENTED)]
    text = page_of(tmp_path, scores).text
    assert "heart 1 missed, 1 invented" in text
    assert "3.00 n 1 of 3" in text  # of HD95, in the summary
    assert "1 2 undefined 3.00 – 3.00 3.00 to 3.00 3.00 case_a" in text  # and with median, quartiles and worst case
    assert "heart missed 1 of 3 case_b" in text
    assert "heart invented 1 of 3 case_c" in text
    assert "Where it is left out, means speak of the other cases only." in text


def test_penalty_is_stated_where_cases_are_penalised(tmp_path):
    scores = [score("case_a"), score("case_b", diagonal_mm=480.0, **MISSED)]
    text = page_of(tmp_path, scores, evaluation=PENALISE).text
    assert "the diagonal of the image (480 to 500 mm) for every distance" in text
    assert "1 penalised 241.50" in text
    assert "480.00 case_b" in text


def test_cases_that_were_not_evaluated_come_first_with_the_reason(tmp_path):
    text = page_of(tmp_path, [score()], not_evaluated={"case_9": "no prediction has its name."}).text
    assert "1 of 2 cases was evaluated" in text
    assert "case_9 no prediction has its name." in text
    assert text.index("case_9") < text.index("Summary Mean over")
    assert "cases was evaluated" not in page_of(tmp_path / "clean", [score()]).text


def test_definitions_tolerances_and_record_are_on_the_page(tmp_path):
    tolerances = EvaluationConfig(surface_tolerance_mm={"heart": 2.5, "default": 1.0}, surface="voxels")
    labels = {"heart": {"value": 3, "color": [1, 2, 3]}, "liver": {"value": 4, "mirror": None}}
    scores = [score(), score(organ="liver")]
    settings = {"split": "test", "model": {"sha256": "8f2c"}, "labels": labels}
    text = page_of(tmp_path, scores, evaluation=tolerances, settings=settings).text
    assert "Tolerance of the surface Dice: heart 2.5 mm, liver 1 mm." in text
    assert "Surface: boundary voxels" in text.replace("Surface: the", "Surface:")
    assert "2 |R ∩ P| / (|R| + |P|). 0 0 0 of 2" in text
    assert "Run split test" in text
    assert "Model sha256 8f2c" in text
    assert "Labels heart value 3; color 1, 2, 3 liver value 4; mirror none" in text
    assert "Software python" in text


@pytest.mark.parametrize(("surface", "expected"), [("area", "of the area of S(R) lies"), ("voxels", "95th percentile")])
def test_distance_is_defined_by_the_surface_it_was_measured_with(tmp_path, surface, expected):
    text = page_of(tmp_path, [score()], evaluation=EvaluationConfig(surface=surface)).text
    assert text.count(expected) == 2  # with the plot, and among the definitions


def test_group_is_marked_and_counts_no_organ_twice(tmp_path):
    lungs = {"organs": ["left", "right"]}
    organs = {"left": MISSED, "right": INVENTED, "lungs": MISSED}
    scores = [
        score(case_id, organ, **(organs[organ] if case_id == "a" else {})) for case_id in "ab" for organ in organs
    ]
    labels = {"left": {"value": 1}, "right": {"value": 2}, "lungs": lungs, "ignore": [255]}
    text = page_of(tmp_path, scores, settings={"labels": labels}).text
    assert "Organs 2 and 1 group Organs missed 1 of 3 to find Organs invented 1 of 1 not there" in text
    assert "lungs missed group 1 of 2 a" in text
    assert "lungs 1 missed group of 2" in text
    assert "Groups are scored as one mask: lungs is left, right." in text


def test_notice_names_what_each_metric_counts_a_failure_as(tmp_path):
    extra = {"precision": 0.9, "volume_error_percent": 10.0}
    missed = MISSED | {"precision": NAN, "volume_error_percent": -100.0}
    invented = INVENTED | {"precision": 0.0, "volume_error_percent": NAN}
    scores = [score("a", **extra), score("b", **missed), score("c", **invented)]
    counted = page_of(tmp_path, scores).text
    assert (
        "Missed: 0 in Dice; undefined and left out in HD95 and Precision; −100% in Relative volume error; "
        "all else counts as measured."
    ) in counted
    assert "Invented: 0 in Dice and Precision; undefined and left out in HD95 and Relative volume error;" in counted
    penalised = page_of(tmp_path, scores, evaluation=PENALISE).text
    assert (
        "Missed: 0 in Dice and Precision; the image's diagonal in HD95; −100% in Relative volume error; "
        "all else counts as measured."
    ) in penalised


def test_dots_at_the_side_are_explained_by_metric_and_policy(tmp_path):
    scores = [score("a"), score("b", **MISSED), score("c", **INVENTED), score("d", **ABSENT)]
    counted, penalised = (page_of(tmp_path, scores, evaluation=policy).text for policy in (COUNT, PENALISE))
    dice = "Hollow dots at the side: missed or invented (counts as 0), in neither volume (undefined and left out)."
    assert dice in counted
    assert dice in penalised
    assert "Hollow dots at the side: missed, invented or in neither volume (undefined and left out)." in counted
    assert "missed or invented (counts as the image's diagonal), in neither volume (undefined and" in penalised
    assert "Hollow dots" not in page_of(tmp_path, scores[:1]).text


def test_mean_of_few_cases_has_no_interval_and_the_page_says_why(tmp_path):
    def text_of(num_cases):
        return page_of(tmp_path, [score(f"c{i}", dice=0.8 + i / 100) for i in range(num_cases)]).text

    reason = "For fewer than 5 cases none is given"
    assert reason in text_of(4)
    assert "[0.8" not in text_of(4)
    assert json.loads((tmp_path / "summary.json").read_text())["organs"]["heart"]["metrics"]["dice"]["mean_low"] >= 0.8
    assert "[0.80" in text_of(5)
    assert reason not in text_of(5)
    assert reason not in text_of(1)


def test_interval_of_the_median_stands_beside_it(tmp_path):
    text = page_of(tmp_path, [score(f"c{i}", dice=i / 10) for i in range(9)]).text
    assert "0.400 [0.100, 0.700] 0.200 to 0.600 0.000 c0" in text


def test_metrics_come_in_the_order_of_a_reader(tmp_path):
    names = ["iou", "hausdorff_mm", "assd_mm", "surface_dice", "volume_error_percent"]
    data = page_of(tmp_path, [score(**dict.fromkeys(names, 1.0))]).data
    assert [metric["name"] for metric in data["metrics"]] == [
        *("dice", "surface_dice", "hd95_mm", "assd_mm", "volume_error_ml", "volume_error_percent"),
        *("iou", "hausdorff_mm", "reference_ml", "prediction_ml"),
    ]


def test_cases_that_were_not_evaluated_are_sorted_as_people_sort(tmp_path):
    reasons = dict.fromkeys(["case_10", "case_9", "a", "case_9b"], "no file.")
    text = page_of(tmp_path, [score()], not_evaluated=reasons).text
    assert re.findall(r"(\S+) no file\.", text) == ["a", "case_9", "case_9b", "case_10"]


def test_agreement_of_volumes_is_told_in_words_too(tmp_path):
    scores = [score(f"c{i}", reference_ml=10.0, prediction_ml=p) for i, p in enumerate((9.0, 11.0, 13.0))]
    page = page_of(tmp_path, [*scores, score("c0", "liver", **ABSENT)])
    assert "Mean difference 1.0 ml [−4.0, 6.0]" in page.text  # 1 ± t(0.975, 2) 2 / sqrt(3)
    assert "Limits −2.9 to 4.9 ml, n 3" in page.text  # 1 ± 1.96 * 2
    assert "liver In no case is there any of it." in page.text


def test_every_link_has_its_place(tmp_path):
    scores = [score(case_id, organ) for case_id in ("a", EVIL, "ü/#%") for organ in ("heart", "liver")]
    page = page_of(tmp_path, scores, pictures=["a"], not_evaluated={"x": "no file."})
    ids, links = page.values("id"), [v[1:] for v in page.values("href") if v.startswith("#")]
    assert len(ids) == len(set(ids))
    cases = {unquote(link.removeprefix("case=")) for link in links if link.startswith("case=")}
    assert cases <= {"a", EVIL, "ü/#%"}
    assert "a" in cases
    assert {link for link in links if not link.startswith("case=")} <= set(ids)


def test_worst_pictures_come_first_and_typical_ones_after(tmp_path):
    scores = [score(f"case_{i:02d}", dice=0.5 + i / 100) for i in range(30)]
    evaluation = EvaluationConfig(pictures=3)
    page = page_of(tmp_path, scores, pictures=[s.case_id for s in scores], evaluation=evaluation)
    shown = [value for tag, name, value in page.attributes if (tag, name) == ("figure", "data-case")]
    assert shown == pictured_cases(scores, 3) == ["case_00", "case_01", "case_14"]
    assert "Worst cases the worst first case_00 worst organ: heart, Dice 0.500 case_01" in page.text
    assert "Typical cases Dice nearest to the median of all cases case_14" in page.text


def test_page_without_pictures_says_nothing_of_them(tmp_path):
    page = page_of(tmp_path, [score()])
    assert "pictures" not in page.values("id")
    assert "#pictures" not in page.values("href")


def test_viewer_is_embedded_for_the_cases_that_were_scored_alone(tmp_path):
    plain = html_of(tmp_path, [score("a"), score("b")])
    labels = LabelMap.from_mapping({"heart": 1})
    volume = Volume(np.ones((1, 4, 4, 4), np.uint8), np.eye(4))
    for case_id in ("a", "z"):
        write_viewer_volumes(None, volume, volume, labels, tmp_path / "viewer", case_id=case_id)
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "viewer" not in Page(plain).values("id")
    assert "viewer" in page.values("id")
    assert page.data["viewer"] == ["a"]
    assert "connect-src" not in page.policy
    assert "unsafe" not in page.policy


def test_500_cases_are_a_small_file(tmp_path):
    scores = [score(f"case_{i:03d}", organ, dice=i / 500) for i in range(500) for organ in ("heart", "liver", "lung")]
    assert len(html_of(tmp_path, scores)) < 1e6


def test_values_are_told_in_the_digits_of_their_unit():
    assert format_value(0.91249, "") == "0.912"
    assert format_value(-3.25001, "%") == "−3.3"
    assert format_value(-0.004, "mm") == "0.00"
    assert format_value(2.0, "count") == "2"
    assert format_value(1.25, "count", 1) == "1.2"
    assert format_value(NAN, "ml") == "–"


def test_json_cannot_end_the_script_it_stands_in():
    value = {"</script><!--": ["&amp;", "\u2028", 0.5, None]}
    text = json_for_page(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_policy_names_each_source_once_and_no_empty_directive():
    assert policy({"img-src": ["data:", "data:"], "worker-src": []}) == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:"
    )


def test_report_writes_tables_again_and_figures_on_request(tmp_path):
    page_of(tmp_path, [score("a"), score("b")])
    assert report(tmp_path) == tmp_path / "report.html"
    assert (tmp_path / "tables" / "summary.csv").is_file()
    assert not (tmp_path / "figures").exists()
    report(tmp_path, figures=True)
    assert (tmp_path / "figures" / "dice.svg").is_file()


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
    write_summary(summarise([score()], evaluation=COUNT), tmp_path / "summary.json")
    with pytest.raises(MedganError, match="must be of one evaluation, found 1 case of liver and 1 case of heart"):
        write_report(tmp_path)
