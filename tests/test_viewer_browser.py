import numpy as np
import pytest
from browser import SMALL, open_viewer, organs_in_3d, pixels_of, quiet_page

from medgan.config import EvaluationConfig
from medgan.evaluation.scores import score_case
from medgan.labels import LabelMap
from medgan.report.html import write_report
from medgan.report.scores_csv import write_scores_csv
from medgan.report.summary import summarise, write_summary
from medgan.report.viewer import write_viewer_volumes
from medgan.volume.volume import Volume

LABELS = LabelMap.from_mapping(
    {"lung": {"value": 1, "color": [0, 170, 60]}, "vein": {"value": 2, "color": [220, 40, 40]}}
)


@pytest.fixture(scope="module")
def thin_report(tmp_path_factory):
    """The report of an organ two voxels thick that was missed, and of no picture at all."""
    label = np.zeros((40, 40, 40), np.uint8)
    label[6:34, 6:34, 6:34] = 1
    reference = label.copy()
    reference[36:38, 10:30, 20:22] = 2
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    return report_of_one("thin", [Volume(v[None], affine) for v in (reference, label)], tmp_path_factory)


@pytest.fixture(scope="module")
def flat_report(tmp_path_factory):
    """The report of a 2D image, 60 by 40 pixels, with a lung on its left."""
    label = np.zeros((1, 60, 40, 1), np.uint8)
    label[0, 5:25, 10:30] = 1
    volume = Volume(label, np.diag([-1.0, -1.0, 1.0, 1.0]))  # as a PNG is read
    return report_of_one("film", [volume, volume], tmp_path_factory)


def report_of_one(case_id, volumes, tmp_path_factory):
    folder = tmp_path_factory.mktemp(case_id)
    scores = score_case(*volumes, LABELS, case_id=case_id)
    write_viewer_volumes(None, *volumes, LABELS, folder / "viewer", case_id=case_id)
    write_scores_csv(scores, folder / "scores.csv")
    write_summary(summarise(scores, evaluation=EvaluationConfig()), folder / "summary.json")
    return write_report(folder)


def test_thin_organ_that_was_missed_stands_in_3d(browser, thin_report):
    with quiet_page(browser, thin_report, viewport=SMALL) as page:
        open_viewer(page, "thin")
        page.locator("#viewer-organs").get_by_label("lung").uncheck()
        assert (np.ptp(organs_in_3d(page), axis=-1) > 30).sum() > 100


def test_cube_in_3d_tells_the_sides(browser, thin_report):
    with quiet_page(browser, thin_report, viewport=SMALL) as page:
        open_viewer(page, "thin")
        page.locator('input[value="3d"]').check(force=True)
        page.locator("#viewer-all").uncheck()
        pixels = pixels_of(page.locator("#viewer-canvas"))
        assert (np.ptp(pixels, axis=-1) > 30).sum() > 300


def test_2d_image_has_one_view_and_no_planes(browser, flat_report):
    with quiet_page(browser, flat_report, viewport=SMALL) as page:
        open_viewer(page, "film")
        assert page.locator(".viewer-choice label:visible").all_inner_texts() == ["Image"]
        told = page.locator("#viewer").inner_text()
        assert not any(word in told for word in ("Axial", "3D", "planes", "mm"))


def test_pixel_of_a_2d_image_is_told_as_its_file_counts(browser, flat_report):
    with quiet_page(browser, flat_report, viewport=SMALL) as page:
        open_viewer(page, "film")
        canvas = page.locator("#viewer-canvas")
        box = canvas.bounding_box()
        scale = min(box["width"] / 60, box["height"] / 40)
        for x, y, organ in ((15, 12, "lung"), (50, 12, "none"), (15, 35, "none")):
            place = {"x": box["width"] / 2 + (x - 29.5) * scale, "y": box["height"] / 2 + (y - 19.5) * scale}
            canvas.click(position=place)
            status = page.locator("#viewer-status").inner_text()
            assert status == f"x {x}, y {y} · reference: {organ} · prediction: {organ}"


def test_2d_image_has_letters_at_its_sides_alone(browser, flat_report):
    with quiet_page(browser, flat_report, viewport=SMALL) as page:
        open_viewer(page, "film")
        page.locator("#viewer-all, #viewer-organs input").first.uncheck()
        pixels = pixels_of(page.locator("#viewer-canvas"))[10:-10]  # without its round corners
        is_letter = (np.ptp(pixels, axis=-1) < 12) & (pixels.mean(axis=-1) > 120)
        assert is_letter[150:250, :30].sum() > 10
        assert is_letter[150:250, -30:].sum() > 5
        assert is_letter[:100].sum() == is_letter[-100:].sum() == 0
