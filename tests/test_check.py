"""Each thing that checking a cohort finds, and that it finds nothing in a sound one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import deadly
import numpy as np
import pytest
from phantoms import box_volume
from tiny import write_box_cohort, write_picture_cohort

from medgan.inspection import check
from medgan.inspection.check import CheckReport, check_cases
from medgan.inspection.facts import content_hash, facts_of
from medgan.labels import LabelMap
from medgan.manifest.case import Case
from medgan.manifest.read import read_manifest
from medgan.volume.readers import read_label, read_volume
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

BOXES = LabelMap.from_mapping({"left_box": 1, "right_box": 2, "top_box": 3})


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    write_box_cohort(tmp_path)
    return read_manifest(tmp_path / "manifest.csv")


def warnings_of(report: CheckReport) -> list[tuple[str, str, str]]:
    """Return case id ("" for the cohort), kind and text of each warning."""
    about_cases = [(case.case_id, w.kind, w.text) for case in report.cases for w in case.warnings]
    return [*(("", w.kind, w.text) for w in report.warnings), *about_cases]


def change_image(case: Case, change: object) -> None:
    image = read_volume(case.images[0])
    write_volume(Volume(change(image.data).astype(np.float32), image.affine), case.images[0])  # type: ignore[operator]


def change_label(case: Case, values: list[int]) -> None:
    """Replace the label values 0 to 3 by others."""
    label = read_label(case.label)  # type: ignore[arg-type]
    write_volume(Volume(np.array(values, np.uint8)[label.data], label.affine), case.label)  # type: ignore[arg-type]


def test_nothing_is_found_in_a_sound_cohort(cases: list[Case]) -> None:
    report = check_cases(cases, labels=BOXES, expects_hu=True)
    assert report.done == ("case_a", "case_b", "case_c", "case_d")
    assert (report.failed, warnings_of(report)) == ({}, [])
    assert [case.split for case in report.cases] == ["train", "train", "val", "test"]


def test_nothing_is_found_in_sound_pictures(tmp_path: Path) -> None:
    write_picture_cohort(tmp_path)
    report = check_cases(read_manifest(tmp_path / "manifest.csv"), labels=LabelMap.from_mapping({"lungs": 255}))
    assert (report.failed, warnings_of(report)) == ({}, [])


def test_errors_name_the_case_and_the_fact(cases: list[Case]) -> None:
    cases[0].images[0].write_bytes(b"not a NIfTI")
    write_volume(box_volume((9, 8, 5), labels=True), cases[1].label)  # type: ignore[arg-type]
    cases[2].label.write_bytes(cases[2].label.read_bytes()[:-20])  # type: ignore[union-attr]
    change_label(cases[3], [0, 1, 2, 9])
    report = check_cases(cases, labels=BOXES)
    assert report.done == ()
    kinds = {case.case_id: [error.kind for error in case.errors] for case in report.cases}
    assert kinds == {
        "case_a": ["unreadable"],
        "case_b": ["grid"],
        "case_c": ["unreadable"],
        "case_d": ["label_values"],
    }
    assert "case_a.nii.gz is not a NIfTI file" in report.failed["case_a"]
    assert "case case_b: label and image must be on one grid, found label 9x8x5" in report.failed["case_b"]
    assert "labels/case_c.nii.gz is truncated" in report.failed["case_c"]
    assert "case case_d: label values [9] are not in the label map" in report.failed["case_d"]


def test_all_errors_of_a_case_are_told(cases: list[Case]) -> None:
    wrong = box_volume((9, 8, 5), labels=True)
    write_volume(Volume(wrong.data * 7, wrong.affine), cases[1].label)  # type: ignore[arg-type]
    report = check_cases(cases, labels=BOXES)
    assert [error.kind for error in report.cases[1].errors] == ["grid", "label_values"]


def test_folder_of_masks_is_checked_by_its_names(cases: list[Case], tmp_path: Path) -> None:
    label = read_label(cases[0].label)  # type: ignore[arg-type]
    for value, name in ((2, "box L"), (1, "box R")):
        write_volume(
            Volume((label.data == value).astype(np.uint8), label.affine), tmp_path / "masks" / f"{name}.nii.gz"
        )
    cases[0] = replace(cases[0], label=tmp_path / "masks")
    report = check_cases(cases, labels=BOXES)
    assert [(case_id, kind, text[:30]) for case_id, kind, text in warnings_of(report)] == [
        ("case_a", "empty_label", "label has no top_box."),
        ("case_a", "sides", "left_box and right_box look swa"[:30]),
    ]
    other = check_cases(cases, labels=LabelMap.from_mapping({"heart": 1}))
    assert "none of its 2 segments is an organ of the label map" in other.failed["case_a"]


def test_empty_label_and_absent_organ_are_warned_of(cases: list[Case]) -> None:
    change_label(cases[1], [0, 0, 0, 0])
    change_label(cases[2], [0, 1, 0, 0])
    report = check_cases(cases, labels=BOXES)
    assert report.failed == {}
    assert warnings_of(report) == [
        ("case_b", "empty_label", "label is empty: it marks no voxel."),
        ("case_c", "empty_label", "label has no right_box, no top_box."),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda hu: hu + 1024,
            "looks like HU shifted, as if the rescale intercept had been left out or applied twice, by about +1024;",
        ),
        (lambda hu: (hu + 1000) / 4000, "looks like scaled, not HU: everything lies between -1 and 1; values from 0 "),
        (lambda hu: (hu - hu.mean()) / hu.std(), "looks like normalised (mean 0, deviation 1), not HU"),
        (lambda hu: (hu + 1000) / 10, "looks like 8-bit grey values, not HU"),
        (lambda hu: hu * 0 + 7, "is the same everywhere; values from 7 to 7."),
        (lambda hu: hu.clip(-1000, 200), "looks like HU, cut off above 200."),
        (lambda hu: hu.clip(-500, None), "looks like HU, cut off below -500."),
    ],
)
@pytest.mark.parametrize("expects_hu", [True, False])
def test_image_that_is_not_hu_stands_out_among_ct(
    cases: list[Case], change: object, words: str, expects_hu: bool
) -> None:
    change_image(cases[2], change)
    [(case_id, kind, text)] = warnings_of(check_cases(cases, expects_hu=expects_hu))
    assert (case_id, kind) == ("case_c", "intensity")
    assert text.startswith(f"image {words}")


def test_cohort_of_another_modality_need_not_be_hu(cases: list[Case]) -> None:
    for case in cases:
        change_image(case, lambda hu: (hu + 1000) * 0.37)
    assert warnings_of(check_cases(cases)) == []
    assert len(warnings_of(check_cases(cases, expects_hu=True))) == 4


def test_cohort_cut_off_as_a_whole_is_told_once(cases: list[Case]) -> None:
    for case in cases:
        change_image(case, lambda hu: hu.clip(None, 200))
    [(case_id, kind, text)] = warnings_of(check_cases(cases))
    assert (case_id, kind) == ("", "intensity")
    assert text == "image: 4 of 4 look cut off; the first looks like HU, cut off above 200."


def test_unusual_spacing_and_extent_are_warned_of(cases: list[Case]) -> None:
    image, label = box_volume((18, 16, 10)), box_volume((18, 16, 10), labels=True)
    affine = image.affine @ np.diag([1, 1, 5, 1])
    write_volume(Volume(image.data + 3, affine), cases[1].images[0])
    write_volume(Volume(label.data, affine), cases[1].label)  # type: ignore[arg-type]
    assert warnings_of(check_cases(cases)) == [
        ("case_b", "outlier", "spacing along R, A, S is 1.5 x 2 x 15 mm, where the cohort's median is 1.5 x 2 x 3 mm."),
        (
            "case_b",
            "outlier",
            "extent along R, A, S is 27 x 32 x 150 mm, where the cohort's median is 28.5 x 32 x 30 mm.",
        ),
    ]


def test_axis_order_makes_no_outlier(cases: list[Case]) -> None:
    for path in (cases[1].images[0], cases[1].label):
        volume = read_volume(path)  # type: ignore[arg-type]
        turned = volume.affine @ np.eye(4)[:, [2, 0, 1, 3]]
        write_volume(Volume(volume.data.transpose(0, 3, 1, 2), turned), path)  # type: ignore[arg-type]
    assert warnings_of(check_cases(cases, labels=BOXES)) == []


def test_copy_in_another_format_and_axis_order_is_leakage(cases: list[Case], tmp_path: Path) -> None:
    image = read_volume(cases[0].images[0])
    turned = Volume(image.data[:, ::-1].transpose(0, 2, 1, 3), image.affine @ _flip_and_swap(image.shape[0]))
    write_volume(turned, tmp_path / "copy.nrrd")
    cases[3] = replace(cases[3], images=(tmp_path / "copy.nrrd",), label=None)
    [(case_id, kind, text)] = warnings_of(check_cases(cases))
    assert (case_id, kind) == ("", "leakage")
    assert text.endswith("several splits, so that results mean nothing: case_a (train), case_d (test).")


def _flip_and_swap(size: int) -> np.ndarray:
    """Return the matrix that leads indices of a volume flipped along i, then with i and j swapped, to its own."""
    return np.array([[0, -1, 0, size - 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def test_duplicates_of_one_split_are_told_apart_from_leakage(cases: list[Case]) -> None:
    shutil.copy(cases[0].images[0], cases[1].images[0])
    cases[1] = replace(cases[1], label=None)
    [(case_id, kind, text)] = warnings_of(check_cases(cases))
    assert (case_id, kind) == ("", "duplicate")
    assert text == "one image stands for several cases: case_a (train), case_b (train)."


def test_content_hash_knows_shape_and_values_alone() -> None:
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    first = content_hash(data, np.eye(4))
    assert content_hash(data.astype(np.float32), np.diag([2.0, 3.0, 4.0, 1.0])) == first
    assert content_hash(np.asfortranarray(data), np.eye(4)) == first
    assert content_hash(data[:, :, ::-1], np.diag([1.0, 1.0, -1.0, 1.0])) == first
    assert content_hash(data.reshape(3, 2, 4), np.eye(4)) != first
    assert content_hash(data[::-1], np.eye(4)) != first
    assert content_hash(np.full((1, 1, 1), -0.0), np.eye(4)) == content_hash(np.zeros((1, 1, 1)), np.eye(4))


def test_swapped_sides_are_warned_of(cases: list[Case]) -> None:
    change_label(cases[1], [0, 2, 1, 3])
    [(case_id, kind, text)] = warnings_of(check_cases(cases, labels=BOXES))
    assert (case_id, kind) == ("case_b", "sides")
    assert text == "left_box and right_box look swapped: the left one lies further to the right."


def test_sides_swapped_in_the_whole_cohort_are_told_first(cases: list[Case]) -> None:
    for case in cases:
        change_label(case, [0, 2, 1, 3])
    report = check_cases(cases, labels=BOXES)
    assert report.warnings[0].text.startswith("left and right look swapped in 4 of 4 cases with both sides; ")
    assert report.num_warnings == 5


def test_other_numbers_of_channels_are_warned_of(cases: list[Case]) -> None:
    cases[2] = replace(cases[2], images=cases[2].images * 2)
    assert warnings_of(check_cases(cases)) == [
        ("case_c", "channels", "image has 2 channels, where most have 1."),
    ]


def test_warnings_of_readers_are_told_with_the_case(cases: list[Case], recwarn: pytest.WarningsRecorder) -> None:
    raw = cases[1].images[0].with_suffix("")
    write_volume(read_volume(cases[1].images[0]), raw)
    raw.write_bytes(raw.read_bytes() + b"tail")
    cases[1] = replace(cases[1], images=(raw,))
    [(case_id, kind, text)] = warnings_of(check_cases(cases))
    assert (case_id, kind) == ("case_b", "reading")
    assert text.endswith("4 bytes follow the last voxel and are ignored.")
    assert len(recwarn) == 0


def test_dead_process_costs_its_own_case(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "facts_of", deadly.facts_but_of_case_b)
    report = check_cases(cases, labels=BOXES, num_workers=2)
    assert report.done == ("case_a", "case_c", "case_d")
    assert report.failed == {
        "case_b": "case case_b: the process that read it died twice (killed, most likely for want of memory); "
        "check its files, or give it more memory."
    }


def test_report_does_not_depend_on_the_number_of_processes(cases: list[Case]) -> None:
    cases[0].images[0].write_bytes(b"not a NIfTI")
    told: list[tuple[int, str]] = []
    alone = check_cases(cases, labels=BOXES, on_case=lambda num_done, case_id: told.append((num_done, case_id)))
    assert told == [(1, "case_a"), (2, "case_b"), (3, "case_c"), (4, "case_d")]
    assert check_cases(cases, labels=BOXES, num_workers=3) == alone


def test_many_warnings_of_a_kind_are_cut_short(cases: list[Case]) -> None:
    report = check_cases(cases)
    facts = facts_of(cases[0], labels=None)
    rows = [
        check.CaseReport(f"case_{n}", None, (), (check.Finding("reading", "odd."),), replace(facts, case_id=f"{n}"))
        for n in range(23)
    ]
    lines = replace(report, cases=tuple(rows)).warning_lines()
    assert len(lines) == 11
    assert lines[0] == "warning: case_0: odd."
    assert lines[-1] == "warning: 13 more of the kind reading; --json lists all."


def test_json_holds_everything(cases: list[Case], tmp_path: Path) -> None:
    change_label(cases[1], [0, 0, 0, 0])
    check_cases(cases, labels=BOXES).write_json(tmp_path / "check.json")
    document = json.loads((tmp_path / "check.json").read_text())
    assert set(document) == {"versions", "usable", "cases", "warnings", "organs"}
    assert document["usable"] == 4
    assert document["cases"][1]["warnings"][0]["kind"] == "empty_label"
    assert document["cases"][0]["facts"]["grid"]["spacing_mm"] == [1.5, 2.0, 3.0]
