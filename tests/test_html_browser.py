import pytest
from browser import PHONE, quiet_page
from test_summary import ABSENT, INVENTED, MISSED, PENALISE, score

from medgan.config import EvaluationConfig
from medgan.report.html import write_report
from medgan.report.scores_csv import write_scores_csv
from medgan.report.summary import summarise, write_summary

NUM_CASES = 60


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of 60 cases and 14 organs, organs missed penalised."""
    folder = tmp_path_factory.mktemp("evaluation")
    scores = [
        score(f"case_{i}", f"organ_{o}", dice=0.4 + i / 100, hd95_mm=60.0 - i)
        for i in range(3, NUM_CASES)
        for o in range(14)
    ]
    for i, values in enumerate((MISSED, INVENTED, ABSENT)):
        scores += [score(f"case_{i}", f"organ_{o}", **(values if o == 0 else {})) for o in range(14)]
    write_scores_csv(scores, folder / "scores.csv")
    write_summary(summarise(scores, evaluation=PENALISE), folder / "summary.json")
    return write_report(folder)


@pytest.fixture(scope="module")
def large_report(tmp_path_factory):
    """The report of so many cases and organs that strips are drawn when they are seen."""
    scores = [score(f"case_{i}", f"organ_{o}", dice=i / 130) for i in range(130) for o in range(80)]
    return report_of(scores, tmp_path_factory.mktemp("large"))


def report_of(scores, folder, **options):
    write_scores_csv(scores, folder / "scores.csv")
    write_summary(summarise(scores, evaluation=EvaluationConfig(), **options), folder / "summary.json")
    return write_report(folder)


@pytest.fixture
def page(browser, report):
    with quiet_page(browser, report) as shown:
        shown.locator("html[data-drawn]").wait_for()
        yield shown


def dots(page, metric, organ="organ_0", kind=""):
    """Return the cases of the dots of an organ, from left to right."""
    found = page.locator(f'#metric-{metric} circle{kind}[data-organ="{organ}"]')
    return found.evaluate_all(
        "dots => dots.sort((a, b) => a.cx.baseVal.value - b.cx.baseVal.value).map(d => d.dataset.case)"
    )


def open_case(page):
    return page.locator("#case-panel[open] h2").inner_text()


def test_dots_stand_in_the_order_of_their_values_and_unmeasured_ones_aside(page):
    measured = [f"case_{i}" for i in range(3, NUM_CASES)]
    assert dots(page, "dice", kind=":not(.undefined)") == measured
    assert sorted(dots(page, "dice", kind=".undefined")) == ["case_0", "case_1", "case_2"]
    page.locator('button[data-metric="hd95_mm"]').click()
    assert dots(page, "hd95_mm", kind=":not(.undefined)") == measured[::-1]


def test_dots_stand_under_the_ticks_of_their_values(page):
    ticks = page.locator("#metric-dice svg.axis text").evaluate_all(
        "texts => Object.fromEntries(texts.map(t => [t.textContent, t.getBoundingClientRect()]))"
    )
    box = page.locator('#metric-dice circle[data-case="case_20"][data-organ="organ_1"]').bounding_box()  # Dice 0.6
    middle = ticks["0.6"]["left"] + ticks["0.6"]["width"] / 2
    assert box["x"] + box["width"] / 2 == pytest.approx(middle, abs=1)


def test_lane_of_the_side_is_named_for_its_dots_and_apart_from_the_axis(page):
    names = page.locator("#metric-dice svg.axis text.aside")
    assert names.all_text_contents() == ["missed", "invented", "in neither"]
    last_tick = page.locator("#metric-dice svg.axis text.tick").last.bounding_box()
    left = min(box["x"] for box in names.evaluate_all("all => all.map(one => one.getBoundingClientRect())"))
    assert left - last_tick["x"] - last_tick["width"] >= 24
    dot = page.locator("#metric-dice circle.undefined").first.bounding_box()
    assert dot["x"] > last_tick["x"] + last_tick["width"] + 24


def test_plot_is_as_wide_as_there_is_room_whichever_metric_is_chosen(page):
    for metric in ("hd95_mm", "volume_error_ml"):
        width = page.evaluate(
            """metric => {
                document.querySelector(`button[data-metric="${metric}"]`).click();
                return document.querySelector(`#metric-${metric} svg.strip`).getBoundingClientRect().width;
            }""",
            metric,
        )
        assert width >= 280, metric


def test_arrow_keys_walk_through_the_dots_and_enter_opens_one(page):
    page.locator("#metric-dice svg.strip").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tooltip").inner_text() == "case_3\norgan_0: Dice 0.430"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert open_case(page) == "case_4"


def test_penalty_is_told_as_one(page):
    page.locator('button[data-metric="hd95_mm"]').click()
    page.locator("#metric-hd95_mm svg.strip").first.focus()
    told = []
    for key in ("End", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
        told.append(page.locator("#tooltip").inner_text().split(": ")[1])
    assert sorted(told) == [
        "HD95 500.00 mm (penalty), invented",
        "HD95 500.00 mm (penalty), missed",
        "HD95 undefined, in neither volume",
    ]


def test_address_opens_its_case_and_back_returns(browser, report):
    with quiet_page(browser, report) as page:
        page.goto(f"{report.resolve().as_uri()}#case=case_7")
        assert open_case(page) == "case_7"
        page.locator("#case-next").click()
        page.wait_for_function("document.getElementById('case-name').textContent !== 'case_7'")
        page.go_back()
        page.wait_for_function("document.getElementById('case-name').textContent === 'case_7'")
        page.keyboard.press("Escape")
        page.locator("#case-panel").wait_for(state="hidden")
        assert "case=" not in page.url


def test_case_table_starts_with_the_worst_and_has_pages(page):
    rows = page.locator("#cases tbody tr")
    assert rows.first.get_attribute("data-case") in ("case_0", "case_1")
    assert rows.count() == 50
    page.locator("#case-pages .next").click()
    assert page.locator("#case-count").inner_text() == "51–100 of 840"
    page.locator("#status-filter").select_option("m")
    assert rows.evaluate_all("rows => rows.map(r => [r.dataset.case, r.dataset.organ])") == [["case_0", "organ_0"]]
    assert page.locator("#case-count").inner_text() == "1–1 of 1"
    page.locator("#case-filter").fill("no such case")
    assert page.locator("#case-count").inner_text() == "No case fits."


def test_undefined_values_are_sorted_to_the_end_either_way(page):
    page.locator("#organ-filter").select_option(label="organ_0")
    heading = page.locator("#cases th button", has_text="Dice")
    last = page.locator("#case-pages .next")
    for _ in range(2):
        heading.click()
        last.click()
        assert page.locator("#cases tbody tr").last.get_attribute("data-case") == "case_2"


def test_organ_search_leaves_that_organ_everywhere(page):
    page.locator("#organ-search").fill("ORGAN_13")
    for place in ("#summary tbody tr", "#plot tbody tr", "#agreement figure"):
        shown = page.locator(f"{place}:visible")
        assert shown.evaluate_all("all => all.map(one => one.dataset.organ)") == ["organ_13"], place
    assert set(page.locator("#cases tbody tr").evaluate_all("all => all.map(one => one.dataset.organ)")) == {"organ_13"}
    assert page.locator("#case-count").inner_text() == "1–50 of 60"
    page.locator("#organ-search").fill("")
    assert page.locator("#case-count").inner_text() == "1–50 of 840"
    assert page.locator("#summary tbody tr:visible").count() == 14
    assert page.locator("#agreement figure:visible").count() == 6
    page.locator("#all-agreements").click()
    assert page.locator("#agreement figure:visible svg").count() == 14


def test_paper_shows_the_plots_of_every_metric(page):
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    for metric in ("dice", "hd95_mm", "volume_error_ml"):
        assert page.locator(f"#metric-{metric} svg.strip:visible").count() == 14
    assert not page.locator("nav").is_visible()


def test_paper_has_one_metric_of_many_organs_and_says_so(browser, large_report):
    with quiet_page(browser, large_report) as page:
        page.locator('button[data-metric="hd95_mm"]').click()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator("section.metric:visible").evaluate_all("all => all.map(one => one.id)") == [
            "metric-hd95_mm"
        ]
        assert page.locator("#metric-hd95_mm svg.strip").count() == 80
        assert page.get_by_text("paper has the metric that was chosen").is_visible()


def test_headings_stay_with_their_plots_on_paper(page):
    page.emulate_media(media="print")
    style = "one => [getComputedStyle(one).breakAfter, getComputedStyle(one).breakInside]"
    assert page.locator("#agreement > p.quiet").evaluate(style) == ["avoid", "avoid"]
    assert page.locator("#definitions > p").first.evaluate(style) == ["avoid", "avoid"]
    display = page.locator("#agreement .agreements").evaluate("one => getComputedStyle(one).display")
    assert display == "block"  # Chromium does not heed break-after before a grid


def test_strips_of_a_large_report_are_drawn_when_they_are_seen(browser, large_report):
    with quiet_page(browser, large_report) as page:
        page.locator("#metric-dice").scroll_into_view_if_needed()
        page.locator('#metric-dice tr[data-organ="organ_0"] svg.strip').wait_for()
        last = page.locator('#metric-dice tr[data-organ="organ_79"]')
        assert last.locator("svg.strip").count() == 0
        last.scroll_into_view_if_needed()
        last.locator("svg.strip").wait_for()
        assert last.locator("circle").count() == 130


def test_volumes_of_one_case_have_an_axis_with_round_numbers(browser, tmp_path):
    report = report_of([score(reference_ml=217.86, prediction_ml=217.89)], tmp_path)
    with quiet_page(browser, report) as page:
        ticks = page.locator("#agreement svg text").all_text_contents()
        assert ticks == ["−4", "−2", "0", "2", "4", "160", "180", "200", "220", *ticks[-2:]]


def test_organ_names_are_not_broken_in_the_case_table(browser, tmp_path):
    names = ("myocardium", "whole_heart", "left_ventricular_outflow_tract")
    report = report_of([score(organ=name) for name in names], tmp_path)
    with quiet_page(browser, report) as page:
        height = "one => one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).lineHeight)"
        for name in names[:2]:
            assert page.locator(f'#cases tr[data-organ="{name}"] .organ .name').evaluate(height) < 1.5, name
        assert page.locator(f'#cases tr[data-organ="{names[2]}"] .organ wbr').count() == 3


def test_without_javascript_the_numbers_of_every_metric_are_there(browser, report):
    with quiet_page(browser, report, java_script_enabled=False) as page:
        for place in ("#summary table", "#metric-dice table", "#metric-hd95_mm table", "#definitions table"):
            assert page.locator(place).is_visible()
        assert not page.locator("button[data-metric]").first.is_visible()
        assert "does not run here" in page.locator("#cases").inner_text()


def test_phone_shows_the_plot_beside_the_organ(browser, report):
    with quiet_page(browser, report, viewport=PHONE) as page:
        page.locator("html[data-drawn]").wait_for()
        box = page.locator("#metric-dice svg.strip").first.bounding_box()
        assert box["width"] >= 200
        assert box["x"] + box["width"] <= PHONE["width"]


def test_reasons_are_read_whole_on_a_phone(browser, tmp_path):
    reasons = {
        f"patient_{i:03d}_frame_01": "both must be on one grid, found " + "240x256x10 voxels, " * 9 for i in range(3)
    }
    report = report_of([score()], tmp_path, not_evaluated=reasons)
    with quiet_page(browser, report, viewport=PHONE) as page:
        box = page.locator("#not-evaluated .scroll")
        hidden = "one => [one.scrollWidth - one.clientWidth, one.scrollHeight - one.clientHeight]"
        assert box.evaluate(hidden) == [0, 0]
