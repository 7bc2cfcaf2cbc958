import re
from html.parser import HTMLParser

import pytest
from test_tables import NAN, methods, score

from medgan.evaluation.compare import compare
from medgan.report.comparison_html import best_of, signed_value, verdict_on, write_comparison
from medgan.report.tables import write_comparison_tables

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The page's text, tags, addresses and ids as a browser sees them."""

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


def page_of(scores, folder, *, metrics=("dice",), **options):
    """Write the page of a comparison and return its HTML."""
    return write_comparison(compare(scores, metrics=metrics, **options), folder).read_text(encoding="utf-8")


def text_of(html):
    """Return the text of the page without the names of the dots."""
    body = re.sub(r"<circle.*?</circle>", "", html.partition("<body>")[2], flags=re.DOTALL)
    return " ".join(Page(body).text.split())


def test_page_stands_in_the_folder(tmp_path):
    path = write_comparison(compare(methods("unet", "gan"), metrics=["dice"]), tmp_path)
    assert path == tmp_path / "comparison.html"
    assert [found.name for found in tmp_path.iterdir()] == ["comparison.html"]


def test_page_loads_nothing_and_runs_nothing(tmp_path):
    html = page_of(methods("unet", "gan"), tmp_path)
    page = Page(html)
    assert "script" not in page.tags
    assert all(address.startswith("#") or address == "data:," for address in page.addresses)
    assert "url(" not in html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html).group(1)
    assert re.fullmatch(
        r"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'sha256-[\w+/]{43}='",
        policy,
    )
    assert not re.search(r'\sstyle="', html)


def test_names_from_outside_are_escaped_everywhere(tmp_path):
    scores = {
        f"{EVIL}{method}": [score(f"{EVIL}{case}", EVIL, hd95_mm=NAN if method == case else 1.0) for case in range(4)]
        for method in range(3)
    }
    scores[f"{EVIL}1"].append(score(f"{EVIL}more", EVIL))
    html = page_of(scores, tmp_path, metrics=("dice", "hd95_mm"))
    assert "<script>" not in html
    assert EVIL in Page(html).text


def test_every_case_is_a_dot_that_names_it_and_both_values(tmp_path):
    html = page_of(methods("unet", "gan"), tmp_path)
    assert re.findall(r"<title>(case_0: .*?)</title>", html) == ["case_0: 0.200 → 0.300"]
    assert html.count("<circle") == 6


def test_dots_lie_around_zero_and_the_better_side_is_named(tmp_path):
    scores = methods("unet", "gan")
    scores["gan"][0] = score("case_0", dice=0.1, hd95_mm=20.0)  # the others are better by 0.1 and by 1 mm
    html = page_of(scores, tmp_path, metrics=("dice", "hd95_mm"))
    dice, hd95 = html.partition('id="differences"')[2].split("</details>")[:2]
    for part, worse_is_left, side in ((dice, True, "better →"), (hd95, False, "← better")):
        zero = float(re.search(r'class="zero" x1="([\d.]+)"', part).group(1))
        places = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', part)]
        assert sum(x < zero for x in places) == (1 if worse_is_left else 5)
        assert f'class="better">{side}<' in part


def test_differences_come_with_interval_tests_effect_and_counts(tmp_path):
    text = text_of(page_of(methods("unet", "gan"), tmp_path)).partition("Every case A dot")[2]
    assert "heart +0.100 [0.100, 0.100] 0.225 0.325 0.031 raw 0.031 0.031 raw 0.031 +1.00 6, 0, 0 6" in text


def test_a_glance_says_where_methods_differ_after_correction(tmp_path):
    text = text_of(page_of(methods("unet", "gan"), tmp_path))
    assert "gan unet better in 1 No difference shown" in text
    (tmp_path / "equal").mkdir()
    scores = methods("unet", "gan")
    equal = {"unet": scores["unet"], "gan": scores["unet"]}
    assert "gan unet no difference shown" in text_of(page_of(equal, tmp_path / "equal"))


def test_lower_is_better_for_distances():
    pair = compare(methods("unet", "gan"), metrics=["hd95_mm"]).pairs[0]
    assert (pair.difference, verdict_on(pair)) == (-1.0, "better")
    swapped = dict(reversed(methods("unet", "gan").items()))
    assert verdict_on(compare(swapped, metrics=["hd95_mm"]).pairs[0]) == "worse"
    means = compare(methods("unet", "gan"), metrics=["hd95_mm"]).means
    assert best_of(means) == ("gan",)
    assert best_of(compare(methods("unet", "gan"), metrics=["dice"]).means) == ("gan",)
    undefined = {name: [score(f"case_{i}", hd95_mm=NAN) for i in range(3)] for name in ("unet", "gan")}
    assert best_of(compare(undefined, metrics=["hd95_mm"]).means) == ()


def test_no_verdict_is_given_where_ranks_and_mean_disagree(tmp_path):
    unet = [score(f"case_{i:02d}", hd95_mm=5.0 if i else 80.0) for i in range(13)]
    gan = [score(f"case_{i:02d}", hd95_mm=5.1 + 0.01 * i if i else 2.0) for i in range(13)]
    (pair,) = compare({"unet": unet, "gan": gan}, metrics=["hd95_mm"]).pairs
    assert (pair.num_better, pair.num_worse) == (1, 12)
    assert pair.wilcoxon_p_holm < 0.05
    assert pair.difference < 0 < pair.effect_size  # the mean says better, the ranks say worse
    assert verdict_on(pair) == "unclear"
    html = page_of({"unet": unet, "gan": gan}, tmp_path, metrics=("hd95_mm",))
    glance = text_of("<body>" + html.partition('id="glance">')[2].partition("</table>")[0])
    assert "gan unet ranks and mean disagree in 1" in glance
    assert "better in" not in glance
    assert '<strong class="best">−' not in html.partition('id="differences"')[2]


def test_every_method_with_the_best_mean_is_marked(tmp_path):
    scores = methods("low", "high")
    html = page_of({**scores, "equal": scores["high"]}, tmp_path)
    means = html.partition('id="means"')[2].partition("</section>")[0]
    assert re.findall(r"<strong( class=\"best\")?>([\d.]+)", means) == [
        ("", "0.225"),
        (' class="best"', "0.325"),
        (' class="best"', "0.325"),
    ]


def test_missing_cases_organs_and_other_references_are_named(tmp_path):
    scores = methods("unet", "gan")
    scores["gan"] = [*scores["gan"][1:], score("case_9"), score("case_9", "liver")]
    scores["gan"][0] = score("case_1", reference_ml=400.0)
    text = text_of(page_of(scores, tmp_path))
    assert "unet lacks 1 case that another has: case_9" in text
    assert "gan lacks 1 case that another has: case_0" in text
    assert "Not compared, as not every method has scored them: liver" in text
    assert "not the same volume for every method in 1 case: case_1" in text


def test_complete_evaluations_have_no_such_notice(tmp_path):
    assert "Not all methods" not in page_of(methods("unet", "gan"), tmp_path)


def test_cases_undefined_on_one_side_are_named(tmp_path):
    scores = methods("unet", "gan")
    scores["gan"][2] = score("case_2", dice=0.0, hd95_mm=NAN, prediction_ml=0.0)
    text = text_of(page_of(scores, tmp_path, metrics=("hd95_mm",)))
    assert "heart: undefined for gan alone in case_2" in text
    assert "5 1 undefined" in text


def test_an_organ_invented_counts_against_who_invented_it(tmp_path):
    scores = methods("unet", "gan")
    scores["unet"][2] = score("case_2", dice=0.0, hd95_mm=NAN, reference_ml=0.0)
    scores["gan"][2] = score("case_2", dice=NAN, hd95_mm=NAN, reference_ml=0.0, prediction_ml=0.0)
    text = text_of(page_of(scores, tmp_path, undefined="penalise"))
    assert "5, 0, 0 1 more better 5 1 undefined" in text
    assert (
        "heart: gan is better in 1 case more, in which there is no difference to test: unet invented it, gan rightly "
        "found none: case_2"
    ) in text
    assert "undefined for" not in text
    write_comparison_tables(compare(scores, metrics=["dice"]), tmp_path)
    assert "worse, equal. heart: gan is better in 1 case more" in (tmp_path / "tables" / "comparison.md").read_text()


def test_three_methods_are_ranked_and_two_are_not(tmp_path):
    text = text_of(page_of(methods("c", "b", "a"), tmp_path))
    assert "a 1 1.00 100% 0% 0%" in text
    assert "Kendall's τ between this ranking and those of the redrawn cases is 1.00 on average" in text
    (tmp_path / "two").mkdir()
    assert 'id="ranking"' not in page_of(methods("a", "b"), tmp_path / "two")


def test_one_case_ranks_without_a_word_on_stability(tmp_path):
    scores = {name: of_method[:1] for name, of_method in methods("c", "b", "a").items()}
    text = text_of(page_of(scores, tmp_path))
    assert "a 1 1.00 – – –" in text
    assert "1 case. Stability: cannot be told, as fewer than two cases rank the methods." in text
    write_comparison_tables(compare(scores, metrics=["dice"]), tmp_path)
    table = (tmp_path / "tables" / "comparison.md").read_text(encoding="utf-8").partition("## Ranking")[2]
    assert "| a | 1 | 1.00 | – | – | – |" in table
    assert "How stable that is cannot be said, as fewer than two cases rank the methods." in table


def test_definitions_stand_on_the_page(tmp_path):
    text = text_of(page_of(methods("unet", "gan"), tmp_path))
    assert "2 |R ∩ P| / (|R| + |P|)." in text
    assert "wilcoxon Wilcoxon signed-rank test, two-sided" in text
    assert "correction Holm, per metric and test" in text
    assert "A pair in which either value is undefined is left out" in text
    (tmp_path / "penalise").mkdir()
    assert "counts as the worst value" in text_of(
        page_of(methods("a", "b"), tmp_path / "penalise", undefined="penalise")
    )


def test_every_link_has_its_place(tmp_path):
    page = Page(page_of(methods("c", "b", "a"), tmp_path))
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.1, "", "+0.100"), (-1.25, "mm", "−1.25"), (0.0001, "", "0.000"), (0.0, "ml", "0.0"), (NAN, "mm", "–")],
)
def test_differences_are_told_with_their_sign(value, unit, text):
    assert signed_value(value, unit) == text


@pytest.mark.parametrize("largest", [0.0, 1e-9, 0.0123, 0.5, 1.0, 3.0, 480.0, 12345.6])
def test_axis_holds_every_difference(tmp_path, largest):
    scores = {"a": [score("x", hd95_mm=0.0)], "b": [score("x", hd95_mm=largest)]}
    html = page_of(scores, tmp_path, metrics=("hd95_mm",))
    (place,) = (float(x) for x in re.findall(r'<circle cx="([\d.]+)"', html))
    lines = sorted(float(x) for x in re.findall(r'class="(?:grid|zero)" x1="([\d.]+)"', html))
    assert lines[0] <= place <= lines[-1]
    assert 3 <= len(lines) <= 7
