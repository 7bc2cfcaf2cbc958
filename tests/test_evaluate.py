"""Pairs scored in processes: a problem costs one case and is told in one sentence."""

import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from phantoms import box_volume

from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.evaluation import evaluate
from medgan.evaluation.evaluate import content_hash, evaluate_pair, evaluate_pairs, problem_of, settings_for
from medgan.evaluation.record import models_of, record_of
from medgan.files import sha256_of, write_json
from medgan.labels import LabelMap
from medgan.manifest.pairs import Pair
from medgan.volume.volume import Volume
from medgan.volume.writers import write_volume

LABELS = LabelMap.from_mapping({"a": 1, "b": 2, "c": 3})
SETTINGS = EvaluationConfig()
BOXES = box_volume((14, 12, 10), labels=True)


def moved(volume: Volume, shift_mm: float) -> Volume:
    affine = np.array(volume.affine)
    affine[0, 3] += shift_mm
    return Volume(volume.data, affine)


def pair_of(folder: Path, reference: Volume, prediction: Volume, case_id: str = "p1", **more: Path) -> Pair:
    for name, volume in (("reference", reference), ("prediction", prediction)):
        write_volume(volume, folder / "hidden" / name / f"{case_id}.nii.gz")
    hidden = folder / "hidden"
    return Pair(
        case_id, hidden / "reference" / f"{case_id}.nii.gz", hidden / "prediction" / f"{case_id}.nii.gz", **more
    )


def problem_with(folder: Path, reference: Volume, prediction: Volume, *, resample: bool = False) -> str:
    pair = pair_of(folder, reference, prediction)
    return evaluate_pair(pair, labels=LABELS, settings=SETTINGS, resample=resample).problem


def test_pair_is_scored_and_its_files_are_hashed(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, BOXES, BOXES)
    found = evaluate_pair(pair, labels=LABELS, settings=SETTINGS)
    assert [(score.case_id, score.organ, score["dice"]) for score in found.scores] == [("p1", n, 1.0) for n in "abc"]
    assert (found.problem, found.is_resampled) == ("", False)
    assert found.reference_sha256 == found.prediction_sha256 == sha256_of(pair.reference)


def test_prediction_on_another_grid_is_resampled_only_when_told_to(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, BOXES, moved(BOXES, 1.5))
    assert problem.startswith("reference and prediction must be on one grid, found 14x12x10 voxels of (1.5, 2, 3) mm")
    assert "which differ in the position of the first voxel (by 1.5 mm); use --resample (in Python" in problem
    pair = pair_of(tmp_path, BOXES, moved(BOXES, 1.5))
    found = evaluate_pair(pair, labels=LABELS, settings=SETTINGS, resample=True)
    assert found.is_resampled
    organ = BOXES.data[0] == 1
    expected = np.roll(organ, 1, axis=0)  # a shift by one voxel of 1.5 mm
    expected[0] = False
    dice = 2 * (organ & expected).sum() / (organ.sum() + expected.sum())
    assert found.scores[0]["dice"] == pytest.approx(dice)


def test_flipped_axes_need_no_resampling(tmp_path: Path) -> None:
    affine = np.array(BOXES.affine)
    affine[0, 0], affine[0, 3] = -1.5, 13 * 1.5
    pair = pair_of(tmp_path, BOXES, Volume(BOXES.data[:, ::-1].copy(), affine))
    found = evaluate_pair(pair, labels=LABELS, settings=SETTINGS)
    assert [score["dice"] for score in found.scores] == [1.0, 1.0, 1.0]
    assert not found.is_resampled


def test_prediction_outside_of_the_reference_is_not_resampled_away(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, BOXES, moved(BOXES, 500.0), resample=True)
    assert problem.startswith("prediction: no labelled voxel falls inside the grid it is brought onto; it lies on")


def test_value_that_is_no_organ_is_told(tmp_path: Path) -> None:
    strange = Volume(BOXES.data * np.uint8(3), BOXES.affine)
    assert problem_with(tmp_path, BOXES, strange).startswith("prediction: label values [6, 9] are not in the label map")


def test_fractional_labels_are_told_without_where_the_file_lies(tmp_path: Path) -> None:
    problem = problem_with(tmp_path, BOXES, Volume(BOXES.data * np.float32(0.5), BOXES.affine))
    assert problem.startswith("prediction p1.nii.gz must hold whole numbers")
    assert "hidden" not in problem


def test_empty_reference_is_refused_or_scored(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, Volume(np.zeros_like(BOXES.data), BOXES.affine), BOXES)
    assert evaluate_pair(pair, labels=LABELS, settings=SETTINGS).problem == (
        "the reference has no organ; if that is so, use evaluation.empty_references=score."
    )
    scored = evaluate_pair(pair, labels=LABELS, settings=EvaluationConfig(empty_references="score"))
    assert [score.is_invented for score in scored.scores] == [True, True, True]


def test_only_the_region_counts(tmp_path: Path) -> None:
    data = BOXES.data.copy()
    data[:, :4] = 0
    region = np.zeros_like(BOXES.data)
    region[:, 4:] = 7
    write_volume(Volume(region, BOXES.affine), tmp_path / "region.nii.gz")
    pair = pair_of(tmp_path, BOXES, Volume(data, BOXES.affine), region=tmp_path / "region.nii.gz")
    found = evaluate_pair(pair, labels=LABELS, settings=SETTINGS)
    assert [score["dice"] for score in found.scores if not score.is_absent] == [1.0, 1.0]
    write_volume(moved(Volume(region, BOXES.affine), 3.0), tmp_path / "region.nii.gz")
    problem = evaluate_pair(pair, labels=LABELS, settings=SETTINGS).problem
    assert problem.startswith("reference and region must be on one grid")
    assert evaluate_pair(pair, labels=LABELS, settings=SETTINGS, resample=True).is_resampled
    background = Volume((BOXES.data == 0).astype(np.uint8), BOXES.affine)
    write_volume(background, tmp_path / "region.nii.gz")
    problem = evaluate_pair(pair, labels=LABELS, settings=SETTINGS).problem
    assert problem.startswith("the reference has no organ inside its region")


def test_a_region_may_reach_beyond_a_reference_that_holds_only_what_it_marks(tmp_path: Path) -> None:
    larger = np.pad(np.ones(BOXES.shape, np.uint8), ((2, 1), (0, 0), (3, 0)))
    affine = BOXES.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (2, 0, 3)
    larger[:, :4] = 0
    write_volume(Volume(larger[None], affine), tmp_path / "region.nii.gz")
    data = BOXES.data.copy()
    data[:, :2] = 0
    pair = pair_of(tmp_path, BOXES, Volume(data, BOXES.affine), region=tmp_path / "region.nii.gz")
    found = evaluate_pair(pair, labels=LABELS, settings=SETTINGS)
    inside, everywhere = (np.count_nonzero(labels) for labels in (BOXES.data[0][:, 4:], BOXES.data[0]))
    counted = sum(score["reference_ml"] for score in found.scores) / BOXES.voxel_ml
    assert round(counted) == inside < everywhere
    assert not found.is_resampled


def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    pairs = [pair_of(tmp_path, BOXES, BOXES, f"p{n}") for n in range(2)]
    pairs.append(Pair("gone", tmp_path / "gone.nii", tmp_path / "gone.nii"))
    seen: list[tuple[float, str]] = []
    alone = evaluate_pairs(pairs, LABELS, settings=SETTINGS, on_case=lambda share, note="": seen.append((share, note)))
    assert seen == [(1 / 3, "p0"), (2 / 3, "p1"), (1.0, "gone")]
    assert evaluate_pairs(pairs, LABELS, settings=SETTINGS, num_workers=2) == alone
    assert alone[2].problem == "reference gone.nii does not exist; check the path."


def die(pair: Pair, **options: object) -> None:
    if pair.case_id == "bad":
        os.kill(os.getpid(), signal.SIGKILL)


def test_process_that_dies_costs_one_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "evaluate_pair", die)
    pair = Pair("bad", tmp_path / "a.nii", tmp_path / "b.nii")
    found = evaluate_pairs([pair, pair], LABELS, settings=SETTINGS, num_workers=2)
    assert "the process that compared it died twice (killed, most likely for want of memory)" in found[0].problem


def test_what_reading_warns_of_is_told_with_the_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(tmp_path, BOXES, BOXES)

    def warning(path: Path, **options: object) -> Volume:
        warnings.warn(f"{path} is odd", stacklevel=1)
        warnings.warn("a library's own", DeprecationWarning, stacklevel=1)
        return BOXES

    monkeypatch.setattr("medgan.evaluation.read_pair.read_label_or_segments", warning)
    with pytest.warns(UserWarning, match="is odd") as caught:
        evaluate_pairs([pair], LABELS, settings=SETTINGS)
    assert [str(w.message) for w in caught] == [
        "case p1: reference p1.nii.gz is odd",
        "case p1: prediction p1.nii.gz is odd",
    ]


def test_problem_is_told_without_case_and_folders() -> None:
    pair = Pair("x", Path("/data/DOE/a.nii"), Path("/out/masks"))
    assert problem_of(pair, "case x: it is late.") == "it is late."
    assert problem_of(pair, "case x, reference: it is late.") == "reference: it is late."
    assert problem_of(pair, "/data/DOE/a.nii is bad") == "reference a.nii is bad"
    assert problem_of(pair, "the reference /data/DOE/a.nii is bad") == "the reference a.nii is bad"
    assert problem_of(pair, "/out/masks/heart.nii is bad") == "prediction masks/heart.nii is bad"


def test_tolerance_replaces_that_of_the_settings() -> None:
    labels = LabelMap.from_mapping({"heart": 1, "left_lung": 2})
    assert settings_for(labels, SETTINGS, surface_tolerance_mm=None) == SETTINGS
    voxels = EvaluationConfig(surface="voxels")
    changed = settings_for(labels, voxels, surface_tolerance_mm={"heart": 3.0})
    assert (changed.surface, changed.tolerance_of("heart"), changed.tolerance_of("left_lung")) == ("voxels", 3.0, 2.0)
    with pytest.raises(MedganError, match=r"'hart' is none of heart, left_lung, default"):
        settings_for(labels, SETTINGS, surface_tolerance_mm={"hart": 3.0})
    with pytest.raises(MedganError, match="must be 0 mm or more, found -1"):
        settings_for(labels, SETTINGS, surface_tolerance_mm=-1)


def test_record_says_what_was_compared(tmp_path: Path) -> None:
    pairs = [pair_of(tmp_path, BOXES, BOXES, "p0"), pair_of(tmp_path, BOXES, moved(BOXES, 90.0), "p1")]
    results = evaluate_pairs(pairs, LABELS, settings=SETTINGS)
    record = record_of(pairs, results, LABELS, labels_given=tmp_path / "organs.yaml", split="test")
    assert (record["num_cases"], record["split"], record["resampled"]) == (1, "test", [])
    assert record["labels_from"] == "file organs.yaml"
    assert LabelMap.from_mapping(record["labels"]) == LABELS
    assert record["reference_sha256"] == content_hash([("p0", sha256_of(pairs[0].reference))])
    assert not {"model", "models"} & record.keys()
    assert str(tmp_path) not in repr(record)
    for given, expected in ((None, "found with the files"), (LABELS, "given in Python"), ("a=1,b=2", "a=1,b=2")):
        assert record_of(pairs, results, LABELS, labels_given=given, split=None)["labels_from"] == expected


def test_record_holds_what_was_told_of_a_case(tmp_path: Path) -> None:
    organ = (BOXES.data == 1).astype(np.uint8)
    for name in "ab":
        write_volume(Volume(organ, BOXES.affine), tmp_path / "masks" / f"{name}.nii.gz")
    pairs = [Pair("p0", tmp_path / "masks", tmp_path / "masks")]
    pairs += [pair_of(tmp_path, BOXES, moved(BOXES, 1.5), "p1"), pair_of(tmp_path, BOXES, BOXES, "p2")]
    with pytest.warns(UserWarning, match="case p0: .*organs share voxels"):
        results = evaluate_pairs(pairs, LABELS, settings=SETTINGS, resample=True)
    notes = record_of(pairs, results, LABELS, labels_given=None, split=None)["notes"]
    assert notes.keys() == {"p0", "p1"}
    assert notes["p0"] == list(results[0].notes)
    assert notes["p1"] == ["the prediction or the region was brought onto the reference's grid."]
    assert "notes" not in record_of(pairs[2:], results[2:], LABELS, labels_given=None, split=None)


def test_models_are_those_that_the_records_beside_predictions_name(tmp_path: Path) -> None:
    record = {"model_sha256": "8f2c", "versions": {"medgan": "0.1.0"}, "device": "cpu", "seconds": 1}
    for name in "ab":
        write_json(tmp_path / f"{name}.json", {**record, "seconds": ord(name)})
    (tmp_path / "c.json").write_text("{")
    write_json(tmp_path / "d.json", {"dice": 0.9})
    expected = {"model_sha256": "8f2c", "medgan": "0.1.0", "device": "cpu"}
    assert models_of([tmp_path / f"{name}.nii.gz" for name in "abcde"]) == [expected]


def test_hash_of_the_content_does_not_depend_on_order() -> None:
    one, other = ("a", "1"), ("b", "2")
    assert content_hash([one, other]) == content_hash([other, one]) != content_hash([one])
