import re
from dataclasses import replace

import numpy as np
import pytest
from browser import (
    LAPTOP,
    PHONE,
    SMALL,
    contrast_of,
    num_of_color,
    open_viewer,
    organs_in_3d,
    pixels_of,
    quiet_page,
)

from medgan.config import EvaluationConfig
from medgan.evaluation.scores import score_case
from medgan.labels import LabelMap
from medgan.report.html import write_report
from medgan.report.overlay import write_overlay
from medgan.report.scores_csv import write_scores_csv
from medgan.report.summary import summarise, write_summary
from medgan.report.viewer import write_viewer_volumes
from medgan.volume.volume import Volume

EVIL = "<img src=x onerror=alert(1)>"
GREEN, RED = (0, 170, 60), (220, 40, 40)
LABELS = LabelMap.from_mapping({"right_lung": {"value": 1, "color": GREEN}, "heart": {"value": 2, "color": RED}})
TURN = np.deg2rad(15.0)
AFFINE = np.eye(4)  # oblique; i grows to the patient's left
AFFINE[:3, :3] = 3.0 * np.array([[-np.cos(TURN), -np.sin(TURN), 0], [-np.sin(TURN), np.cos(TURN), 0], [0, 0, 1]])
AFFINE[:3, 3] = -AFFINE[:3, :3] @ (19.5, 17.5, 11.5) + (40.0, -20.0, -300.0)
SHAPE = (40, 36, 24)
CASES = ("good", "shifted", "missed", EVIL)


def thorax():
    """Return a CT whose neighbouring voxels differ, and its label: a lung on the right alone, a heart in the middle."""
    i, j, k = np.indices(SHAPE)
    label = np.zeros(SHAPE, np.uint8)
    label[((i - 9) / 6) ** 2 + ((j - 18) / 11) ** 2 + ((k - 12) / 9) ** 2 < 1] = 1
    label[(i - 22) ** 2 + (j - 22) ** 2 + (k - 10) ** 2 < 36] = 2
    body = ((i - 19.5) / 19) ** 2 + ((j - 17.5) / 17) ** 2 < 1
    hu = np.where(body, np.array([30, -850, 50])[label], -1000) + (i + 2 * j + 3 * k) % 23
    return Volume(hu[None].astype(np.float32), AFFINE), Volume(label[None], AFFINE)


def predicted(case_id, label):
    """Return what a network could have made of a case."""
    if case_id == "missed":
        return Volume(np.where(label.data == 2, 0, label.data), AFFINE)
    return Volume(np.roll(label.data, {"good": 0, "shifted": 2, EVIL: 1}[case_id], axis=2), AFFINE)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of four cases, two of them with volumes to view."""
    folder, settings = tmp_path_factory.mktemp("evaluation"), EvaluationConfig()
    image, reference = thorax()
    scores = []
    for case_id in CASES:
        prediction = predicted(case_id, reference)
        scores += score_case(reference, prediction, LABELS, case_id=case_id, settings=settings)
        write_overlay(image, prediction, LABELS, folder / "overlays" / f"{case_id}.png", reference=reference)
        if case_id in ("shifted", EVIL):
            write_viewer_volumes(image, reference, prediction, LABELS, folder / "viewer", case_id=case_id)
    write_scores_csv(scores, folder / "scores.csv")
    reasons = {f"{EVIL}2": f"no prediction for <script>alert(1)</script>{EVIL}"}
    write_summary(summarise(scores, evaluation=settings, not_evaluated=reasons), folder / "summary.json")
    return write_report(folder)


@pytest.fixture
def page(browser, report):
    with quiet_page(browser, report) as shown:
        shown.locator("html[data-drawn]").wait_for()
        yield shown


def first_cells(table):
    return table.locator("tbody tr:visible > :first-child").all_inner_texts()


def point_at(page, case_id, organ="heart"):
    """Move the mouse to the dot of a case and return where that is."""
    dot = page.locator(f'#plot circle[data-case="{case_id}"][data-organ="{organ}"]:visible').first
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*at)
    return at


def open_dot(page, case_id):
    page.mouse.click(*point_at(page, case_id))
    wait_for_panel(page, case_id)


def wait_for_panel(page, case_id):
    page.locator("#case-panel[open] h2", has_text=re.compile(f"^{re.escape(case_id)}$")).wait_for()


@pytest.fixture(scope="module")
def opened(browser, report):
    with quiet_page(browser, report, viewport=SMALL) as shown:
        open_viewer(shown, "shifted")
        yield shown


@pytest.fixture
def viewer(opened):
    """The viewer as it opens, with one case."""
    opened.locator("#viewer-reset").click()
    return opened


def test_heading_sorts_the_summary_up_and_down(page):
    table = page.locator("#summary table")
    heading = table.locator("th", has=page.locator("button")).nth(1)
    column = heading.evaluate("cell => cell.cellIndex")
    for direction in ("ascending", "descending"):
        heading.locator("button").click()
        order = heading.get_attribute("aria-sort")
        values = [
            float(v)
            for v in table.locator("tbody tr").evaluate_all(f"rows => rows.map(r => r.cells[{column}].dataset.value)")
        ]
        assert values == sorted(values, reverse=order == "descending"), direction
    assert len(set(values)) == 2


def test_dot_names_its_case_and_opens_it(page):
    at = point_at(page, "shifted")
    assert "shifted" in page.locator("#tooltip").inner_text()
    assert "heart" in page.locator("#tooltip").inner_text()
    page.mouse.click(*at)
    wait_for_panel(page, "shifted")
    assert all(organ in page.locator("#case-panel table").inner_text() for organ in LABELS.names)


def test_escape_closes_the_panel_and_arrows_walk_through_the_cases(page):
    open_dot(page, "good")
    page.keyboard.press("ArrowLeft")  # the best case is the last
    page.locator("#case-panel[open] h2", has_not_text="good").wait_for()
    page.keyboard.press("ArrowRight")
    wait_for_panel(page, "good")
    page.keyboard.press("Escape")
    page.locator("#case-panel").wait_for(state="hidden")


def test_metric_button_switches_the_plot(page):
    assert page.locator("#metric-dice").is_visible()
    button = page.locator('#metrics button[data-metric="hd95_mm"]')
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator("#metric-hd95_mm").is_visible()
    assert not page.locator("#metric-dice").is_visible()


def test_filter_leaves_the_cases_that_match(page):
    rows = page.locator("#cases table tbody tr")
    assert rows.count() == 8
    page.locator("#case-filter").fill("shift")
    page.locator("#organ-filter").select_option("heart")
    assert rows.evaluate_all("rows => rows.map(r => [r.dataset.case, r.dataset.organ])") == [["shifted", "heart"]]


def test_case_named_like_a_tag_stays_text(page):
    assert EVIL in page.locator("#cases").inner_text()
    assert "<script>alert(1)</script>" in page.locator("#not-evaluated").inner_text()
    open_dot(page, EVIL)
    assert page.locator("img[onerror]").count() == 0


def test_case_panel_opens_the_viewer_at_its_case(page):
    open_dot(page, "shifted")
    page.locator("#case-view").click()
    page.locator('#viewer-body[data-shown="shifted"]').wait_for()
    assert not page.locator("#case-panel").is_visible()


def test_only_cases_with_volumes_offer_the_viewer(page):
    open_dot(page, "good")
    assert not page.locator("#case-view").is_visible()
    assert set(page.locator("#viewer-case option").all_inner_texts()) == {"shifted", EVIL}


@pytest.mark.parametrize("viewport", [PHONE, LAPTOP])
def test_nothing_runs_over_the_edge(browser, report, viewport):
    with quiet_page(browser, report, viewport=viewport) as page:
        page.locator("html[data-drawn]").wait_for()
        open_viewer(page, "shifted")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser, report, scheme):
    selectors = ("h1", "#summary td", "#summary th", ".quiet", "#cases td", "#viewer legend", "#viewer select")
    with quiet_page(browser, report, color_scheme=scheme) as page:
        for selector in selectors:
            assert contrast_of(page.locator(selector).first) > 4.5, selector
        assert (pixels_of(page.locator("h1")).mean() < 100) == (scheme == "dark")


def test_viewer_draws_the_organs_on_their_sides(viewer):
    viewer.locator('input[value="axial"]').check(force=True)
    pixels = pixels_of(viewer.locator("#viewer-canvas"))
    half = pixels.shape[1] // 2
    assert pixels.std() > 20  # it is not one colour
    assert num_of_color(pixels[:, :half], GREEN) > 50  # the patient's right is on the left
    assert num_of_color(pixels[:, half:], GREEN) == 0


def test_layers_and_organs_can_be_switched_off(viewer):
    canvas = viewer.locator("#viewer-canvas")
    both = pixels_of(canvas)
    viewer.locator("#viewer-prediction").uncheck()
    without_prediction = pixels_of(canvas)
    viewer.locator("#viewer-reference").uncheck()
    neither = pixels_of(canvas)
    assert num_of_color(both, RED) > num_of_color(without_prediction, RED) > 0
    assert num_of_color(neither, RED) == num_of_color(neither, GREEN) == 0
    viewer.locator("#viewer-prediction").check()
    viewer.locator("#viewer-organs").get_by_label("heart").uncheck()
    without_heart = pixels_of(canvas)
    assert num_of_color(without_heart, RED) == 0
    assert num_of_color(without_heart, GREEN) > 50


def test_fill_fades(viewer):
    viewer.locator("#viewer-style").select_option("fills")
    viewer.locator("#viewer-reference").uncheck()
    counts = []
    for fill in ("0", "1"):
        viewer.locator("#viewer-fill").fill(fill)
        counts.append(num_of_color(pixels_of(viewer.locator("#viewer-canvas")), GREEN))
    assert counts[0] < counts[1] / 2


def told(page):
    """Return the position in mm (RAS), the HU and the organs that the status line tells."""
    text = page.locator("#viewer-status").inner_text().replace("−", "-")
    sides = re.match(r"([LR]) ([\d.]+)\s+([PA]) ([\d.]+)\s+([IS]) ([\d.]+) mm · (-?\d+) HU · ", text).groups()
    position = [float(mm) * (1 if side in "RAS" else -1) for side, mm in zip(sides[0:6:2], sides[1:6:2], strict=True)]
    return position, int(sides[6]), re.findall(r"(?:reference|prediction): (\w+)", text)


def test_value_and_organs_under_the_cursor_are_those_of_the_voxel(viewer):
    image, reference = thorax()
    prediction = predicted("shifted", reference)
    viewer.locator('input[value="axial"]').check(force=True)
    box = viewer.locator("#viewer-canvas").bounding_box()
    middle = box["width"] / 2, box["height"] / 2
    seen = set()
    for right, front in (
        (0.240, 0.008),
        (-0.068, 0.117),
        (0.008, 0.008),
        (-0.31, 0.05),
        (0.31, 0.21),
    ):  # of the canvas' height
        viewer.locator("#viewer-canvas").click(
            position={"x": middle[0] - right * box["height"], "y": middle[1] - front * box["height"]}
        )
        mm, hu, organs = told(viewer)
        voxel = tuple(np.rint(np.linalg.solve(AFFINE, [*mm, 1.0])[:3]).astype(int))
        assert hu == image.data[0][voxel]
        expected = [{0: "none", 1: "right_lung", 2: "heart"}[int(v.data[0][voxel])] for v in (reference, prediction)]
        assert organs == expected
        assert (19.5 - voxel[0]) * right > 0
        seen |= set(organs)
    assert seen == {"none", "right_lung", "heart"}


def test_arrow_keys_move_by_one_voxel_and_page_keys_by_one_slice(viewer):
    before, *_ = told(viewer)
    viewer.locator("#viewer-canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "PageUp"):
        viewer.keyboard.press(key)
    np.testing.assert_allclose(np.subtract(told(viewer)[0], before), AFFINE[:3, :3] @ (-1, 1, 1), atol=0.11)


def test_wheel_scrolls_through_the_slices(viewer):
    viewer.locator('input[value="axial"]').check(force=True)
    before, *_ = told(viewer)
    viewer.locator("#viewer-canvas").hover(position={"x": 200, "y": 150})
    viewer.mouse.wheel(0, 100)
    viewer.locator("#viewer-canvas").dispatch_event("pointerleave")  # the line tells of the cross again
    viewer.mouse.move(0, 0)
    assert abs(told(viewer)[0][2] - before[2]) == pytest.approx(3.0, abs=0.11)


def test_window_presets_change_the_greys(viewer):
    before = pixels_of(viewer.locator("#viewer-canvas"))
    viewer.locator("#viewer-preset").select_option("bone")
    assert viewer.locator("#viewer-level-value").inner_text() == "300"
    assert viewer.locator("#viewer-width-value").inner_text() == "1500"
    assert np.abs(pixels_of(viewer.locator("#viewer-canvas")) - before).mean() > 3


def test_organs_stand_alone_in_3d(viewer):
    viewer.locator('input[value="3d"]').check(force=True)
    pixels = pixels_of(viewer.locator("#viewer-canvas"))
    greenish = (pixels[..., 1] > pixels[..., 0] + 30) & (pixels[..., 1] > pixels[..., 2] + 30)
    assert greenish.sum() > 500
    grey = (np.ptp(pixels, axis=-1) < 8) & (pixels.mean(axis=-1) > 60)
    assert grey.mean() < 0.02  # the body does not hide them


def test_reference_is_paler_than_the_prediction_as_fills(viewer):
    canvas = viewer.locator("#viewer-canvas")
    viewer.locator("#viewer-style").select_option("fills")
    viewer.locator("#viewer-fill").fill("1")
    pale, both = ([round(shade + (255 - shade) * white) for shade in RED] for white in (0.5, 0.25))
    assert all(num_of_color(pixels_of(canvas), tone) > 30 for tone in (RED, pale, both))
    viewer.locator("#viewer-prediction").uncheck()
    assert num_of_color(pixels_of(canvas), pale) > 30
    assert num_of_color(pixels_of(canvas), RED) == num_of_color(pixels_of(canvas), both) == 0


def num_pale_and_full(pixels):
    """Return how many pixels have a shade of an organ's colour with white in it, and without."""
    least, most = pixels.min(axis=-1), pixels.max(axis=-1)
    is_colored = most - least > 40
    return int((is_colored & (least > most / 3)).sum()), int((is_colored & (least < most / 4)).sum())


def test_reference_is_paler_than_the_prediction_in_3d_whatever_the_fill(viewer):
    viewer.locator("#viewer-fill").fill("0")
    assert min(num_pale_and_full(organs_in_3d(viewer))) > 300
    viewer.locator("#viewer-prediction").uncheck()
    pale, full = num_pale_and_full(organs_in_3d(viewer))
    assert pale > 20 * full
    viewer.locator("#viewer-prediction").check()
    viewer.locator("#viewer-reference").uncheck()
    pale, full = num_pale_and_full(organs_in_3d(viewer))
    assert full > 20 * pale


def test_worst_case_comes_first_in_the_viewer(page):
    assert page.locator("#viewer-case option").all_inner_texts() == ["shifted", EVIL]


def test_viewer_changes_to_another_case(opened):
    open_viewer(opened, EVIL)
    assert opened.locator("#viewer-body").get_attribute("data-shown") == EVIL
    assert num_of_color(pixels_of(opened.locator("#viewer-canvas")), GREEN) > 50
    open_viewer(opened, "shifted")


def test_browser_without_webgl_gets_a_sentence(browser, report):
    with quiet_page(browser, report) as page:
        page.evaluate("HTMLCanvasElement.prototype.getContext = () => null")
        page.locator("#viewer-open").click()
        assert "no WebGL 2" in page.locator("#viewer-problem").inner_text()
        assert not page.locator("#viewer-canvas").is_visible()


def test_report_of_500_cases_is_under_25_mb_and_still_finds_a_case(browser, tmp_path):
    _, reference = thorax()
    scores = score_case(reference, predicted("shifted", reference), LABELS, case_id="a")
    many = [replace(score, case_id=f"case_{n:03d}") for n in range(500) for score in scores]
    write_scores_csv(many, tmp_path / "scores.csv")
    write_summary(summarise(many, evaluation=EvaluationConfig()), tmp_path / "summary.json")
    report = write_report(tmp_path)
    assert report.stat().st_size < 25e6
    with quiet_page(browser, report) as page:
        page.locator("#case-filter").fill("case_437")
        assert first_cells(page.locator("#cases table")) == ["case_437", "case_437"]
