import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from phantoms import box_volume, write_dicom_series
from safetensors.numpy import load_file
from tiny import write_box_cohort, write_picture_cohort

import medgan
from medgan.config import EvaluationConfig
from medgan.errors import MedganError
from medgan.files import sha256_of
from medgan.labels import LabelMap
from medgan.manifest.read import read_manifest
from medgan.pipeline import check
from medgan.progress import Advance, Stage
from medgan.provenance import data_sha256
from medgan.volume.dicom.stack import read_stack
from medgan.volume.dicom.write_rtstruct import write_rtstruct
from medgan.volume.dicom.write_seg import write_seg
from medgan.volume.readers import read_label, read_volume
from medgan.volume.seg_nrrd import write_seg_nrrd
from medgan.volume.volume import Volume, same_grid
from medgan.volume.writers import write_volume

COLUMNS = {"case_id", "organ", "dice", "hausdorff_mm", "hd95_mm", "surface_dice", "reference_ml", "diagonal_mm"}
MODEL_FILES = {
    "config.yaml",
    "labels.yaml",
    "training.json",
    "generator.safetensors",
    "generator_last.safetensors",
    "discriminator.safetensors",
    "state.pt",
    "metrics.jsonl",
}


def weights_ndim(path: Path) -> set[int]:
    """Return how many dimensions the convolution kernels of a weights file have: 4 in 2D, 5 in 3D."""
    return {weight.ndim for weight in load_file(path).values()} - {0, 1}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def interrupting_at(note: str) -> Stage:
    """Return a stage at which the user interrupts when `note` is shown."""

    @contextmanager
    def stage(name: str) -> Iterator[Advance]:
        def advance(share: float, shown: str = "") -> None:
            if shown == note:
                raise KeyboardInterrupt

        yield advance

    return stage


def test_training_leaves_a_model_folder(tiny_model):
    assert {path.name for path in tiny_model.model.iterdir()} == MODEL_FILES


def test_training_record_says_what_the_model_came_from(tiny_model):
    record = json.loads((tiny_model.model / "training.json").read_text())
    trained_on = [case for case in read_manifest(tiny_model.manifest) if case.split != "test"]
    assert record["data_sha256"] == data_sha256(trained_on)
    assert record["config_sha256"] == sha256_of(tiny_model.model / "config.yaml")
    assert record["cases"] == {"train": 2, "val": 1, "test": 1}
    assert record["seed"] == 0
    assert record["num_channels"] == 1
    assert record["device"].startswith("cpu")
    assert record["versions"]["medgan"] == medgan.__version__
    assert {"python", "torch", "monai", "nibabel", "numpy"} <= set(record["versions"])
    assert "git_revision" in record
    assert record["result"]["step"] == 2


def test_every_step_is_recorded_with_both_sides_of_the_game(tiny_model):
    lines = [json.loads(line) for line in (tiny_model.model / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "supervised_loss" in line]
    assert steps == [1, 2]
    assert all({"discriminator_loss", "adversarial_loss"} <= set(line) for line in lines if "supervised_loss" in line)
    assert [line["step"] for line in lines if "validation_dice" in line] == [1, 2]


def test_model_travels_with_its_own_labels_and_its_plan(tiny_model):
    config = medgan.load_config(tiny_model.model / "config.yaml")
    assert config.data.labels == tiny_model.model / "labels.yaml"
    assert config.generator.strides == ((2, 2, 2), (2, 2, 1))


def test_prediction_lies_on_the_grid_of_its_image(tiny_model, tmp_path):
    outcome = medgan.predict(tiny_model.model, [tiny_model.manifest], tmp_path, split="test", device="cpu")
    assert (outcome.done, outcome.failed) == (("case_d",), {})
    assert {path.name for path in tmp_path.iterdir()} == {"case_d.nii.gz", "case_d.json"}
    prediction = read_label(tmp_path / "case_d.nii.gz")
    assert same_grid(prediction, read_volume(tiny_model.image("case_d")))
    assert set(prediction.data.ravel().tolist()) <= {0, 1, 2, 3}


def test_prediction_record_names_model_image_and_organs(tiny_model, tmp_path):
    medgan.predict(tiny_model.model, [tiny_model.image("case_d")], tmp_path, device="cpu")
    record = json.loads((tmp_path / "case_d.json").read_text())
    assert record["case_id"] == "case_d"
    assert record["image_sha256"] == [sha256_of(tiny_model.image("case_d"))]
    assert record["model_sha256"] == medgan.Predictor(tiny_model.model, device="cpu").weights_sha256
    assert {name: organ["value"] for name, organ in record["labels"].items()} == {
        "left_box": 1,
        "right_box": 2,
        "top_box": 3,
    }
    prediction = read_label(tmp_path / "case_d.nii.gz")
    assert record["volumes_ml"]["top_box"] == pytest.approx((prediction.data == 3).sum() * 1.5 * 2 * 3 / 1000, abs=1e-3)


def test_dicom_case_is_predicted_into_every_format_and_evaluated_from_each(tiny_model, tmp_path):
    image = read_volume(tiny_model.image("case_d"))
    image = Volume(np.rint(image.data), image.affine)
    write_dicom_series(tmp_path / "scans" / "case_d", image)
    write_volume(read_label(tiny_model.label("case_d")), tmp_path / "reference" / "case_d.nii.gz")
    formats = ["rtstruct", "nifti", "dicom-seg", "seg.nrrd"]
    out = medgan.predict(
        tiny_model.model, [tmp_path / "scans" / "case_d"], tmp_path / "out", device="cpu", formats=formats
    )
    assert (out.done, out.failed) == (("case_d",), {})
    record = json.loads((tmp_path / "out" / "case_d.json").read_text())
    assert list(record["files"]) == ["nifti", "seg.nrrd", "dicom-seg", "rtstruct"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*record["files"].values(), "case_d.json"}
    scores = []
    for left in ("case_d.nii.gz", "case_d.seg.nrrd", "case_d.seg.dcm"):
        medgan.evaluate(tmp_path / "reference", tmp_path / "out", tmp_path / "scores")
        scores.append((tmp_path / "scores" / "scores.csv").read_text())
        (tmp_path / "out" / left).unlink()
    assert scores[0] == scores[1] == scores[2]


def number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


REORDERED = LabelMap.from_mapping({"RIGHT BOX": 1, "top_box": 2, "left-box": 3, "spleen": 9})
NAMED = {"RTSTRUCT": "far/from/ct/plan.dcm", "SEG": "seg.dcm", ".seg.nrrd": "x.seg.nrrd", "masks": "masks"}


@pytest.fixture(scope="module")
def named(tiny_model, tmp_path_factory) -> Path:
    """Return a folder with the series of case_d, its SEG prediction, and its label under other numbers and spellings.

    In `NAMED` files, with a manifest for each; `plain.csv` has the label as it is.
    """
    folder = tmp_path_factory.mktemp("named")
    image = read_volume(tiny_model.image("case_d"))
    write_dicom_series(folder / "ct", Volume(np.rint(image.data), image.affine))
    stack = read_stack(folder / "ct")
    grid = Volume(np.zeros((1, *stack.shape), np.uint8), stack.affine)
    label = read_label(tiny_model.label("case_d"), reference=grid)
    write_volume(label, folder / "plain.nii.gz")
    renumbered = Volume(np.array([0, 3, 1, 2], np.uint8)[label.data], label.affine)
    write_rtstruct(renumbered, REORDERED, stack, folder / NAMED["RTSTRUCT"])
    write_seg(renumbered, REORDERED, stack, folder / NAMED["SEG"])
    write_seg_nrrd(renumbered, REORDERED, folder / NAMED[".seg.nrrd"])
    for organ in REORDERED.organs:
        mask = Volume((renumbered.data == organ.value).astype(np.uint8), label.affine)
        write_volume(mask, folder / "masks" / f"{organ.name}.nii.gz")
    for name, path in {"plain": "plain.nii.gz", **NAMED}.items():
        (folder / f"{name}.csv").write_text(f"case_id,image,label,split\ncase_d,ct,{path},test\n")
    medgan.predict(tiny_model.model, [folder / "plain.csv"], folder / "out", device="cpu", formats=["dicom-seg"])
    assert {path.name for path in (folder / "out").iterdir()} == {"case_d.seg.dcm", "case_d.json"}
    return folder


@pytest.mark.parametrize("kind", NAMED)
def test_references_that_name_organs_give_the_scores_of_a_plain_label(named, tmp_path, kind):
    for manifest in ("plain", kind):
        assert medgan.evaluate(named / f"{manifest}.csv", named / "out", tmp_path / manifest).failed == {}
    plain, found = (rows_of(tmp_path / manifest / "scores.csv") for manifest in ("plain", kind))
    assert [row["organ"] for row in found] == ["left_box", "right_box", "top_box"]
    for expected, row in zip(plain, found, strict=True):
        assert [number(row[key]) for key in expected] == pytest.approx([number(expected[key]) for key in expected])


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG", ".seg.nrrd"])
def test_predictions_that_name_organs_are_compared_by_name(named, tmp_path, kind, tiny_model):
    out = medgan.evaluate(
        named / "plain.csv", named / NAMED[kind], tmp_path, labels=tiny_model.config.with_name("labels.yaml")
    )
    assert out.failed == {}
    assert [float(row["dice"]) for row in rows_of(tmp_path / "scores.csv")] == [1.0, 1.0, 1.0]


def test_without_a_labels_file_organs_are_joined_by_name(named, tmp_path):
    medgan.evaluate(named / "RTSTRUCT.csv", named / NAMED["SEG"], tmp_path / "scores")
    found = {row["organ"]: row["dice"] for row in rows_of(tmp_path / "scores" / "scores.csv")}
    assert found == {"RIGHT BOX": "1.0", "top_box": "1.0", "left-box": "1.0", "spleen": ""}
    with pytest.raises(MedganError, match=r"seg\.dcm names its organs and .*plain\.nii\.gz numbers them"):
        medgan.evaluate(named / "plain.csv", named / NAMED["SEG"], tmp_path / "scores")


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG", ".seg.nrrd"])
def test_named_reference_without_image_is_laid_on_the_grid_of_the_prediction(named, tmp_path, kind, tiny_model):
    organs = tiny_model.config.with_name("labels.yaml")
    assert medgan.evaluate(named / NAMED[kind], named / "plain.nii.gz", tmp_path, labels=organs).failed == {}
    assert [float(row["dice"]) for row in rows_of(tmp_path / "scores.csv")] == [1.0, 1.0, 1.0]


def test_folders_of_seg_with_other_frames_give_the_scores_of_plain_labels(named, tmp_path):
    stack, label = read_stack(named / "ct"), read_label(named / "plain.nii.gz")
    organs = LabelMap.from_mapping({"left_box": 1, "right_box": 2, "top_box": 3})
    planes = np.flatnonzero(label.data.any(axis=(0, 1, 2)))
    for folder, cut in (("reference", planes[:1]), ("prediction", planes[-1:])):  # a frame that only the other has
        data = label.data.copy()
        data[..., cut] = 0
        write_volume(Volume(data, label.affine), tmp_path / "plain" / folder / "a.nii.gz")
        (tmp_path / "seg" / folder).mkdir(parents=True)
        write_seg(Volume(data, label.affine), organs, stack, tmp_path / "seg" / folder / "a.seg.dcm")
    for kind in ("plain", "seg"):
        folders = (tmp_path / kind / each for each in ("reference", "prediction"))
        assert medgan.evaluate(*folders, tmp_path / f"{kind}_scores", labels=organs).done == ("a",)
    plain, seg = (rows_of(tmp_path / f"{kind}_scores" / "scores.csv") for kind in ("plain", "seg"))
    assert any(0 < float(row["dice"]) < 1 for row in plain)
    for expected, row in zip(plain, seg, strict=True):
        assert [number(row[key]) for key in expected] == pytest.approx([number(expected[key]) for key in expected])


def test_dicom_format_for_another_image_fails_before_it_is_segmented(tiny_model, tmp_path, monkeypatch):
    predictor = medgan.Predictor(tiny_model.model, device="cpu")
    monkeypatch.setattr(medgan.Predictor, "predict", lambda *_, **__: pytest.fail("inference was run"))
    outcome = medgan.predict(predictor, [tiny_model.image("case_d")], tmp_path, formats=["nifti", "dicom-seg"])
    assert outcome.done == ()
    assert outcome.failed["case_d"].startswith(
        "case case_d: dicom-seg is derived from a DICOM series, but the image is"
    )


def test_format_that_loses_a_tilt_fails_before_the_image_is_segmented(tiny_model, tmp_path, monkeypatch):
    image = read_volume(tiny_model.image("case_d"))
    affine = np.array(image.affine)
    affine[1, 2] = 0.8
    write_volume(Volume(image.data, affine), tmp_path / "tilted.nii.gz")
    predictor = medgan.Predictor(tiny_model.model, device="cpu")
    monkeypatch.setattr(medgan.Predictor, "predict", lambda *_, **__: pytest.fail("inference was run"))
    outcome = medgan.predict(predictor, [tmp_path / "tilted.nii.gz"], tmp_path / "out", formats=["mha"])
    assert "case tilted: mha cannot hold the sheared grid" in outcome.failed["tilted"]


def test_unknown_format_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(MedganError, match="found 'dicom'"):
        medgan.predict(tmp_path / "no_model", [tmp_path], tmp_path, formats=["dicom"])


def test_unreadable_input_does_not_stop_the_others(tiny_model, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(tiny_model.image("case_d"), tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"not a NIfTI")
    outcome = medgan.predict(tiny_model.model, [tmp_path / "in"], tmp_path / "out", device="cpu")
    assert outcome.done == ("good",)
    assert set(outcome.failed) == {"broken"}
    assert "broken.nii.gz" in outcome.failed["broken"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.nii.gz", "good.json"}


def test_what_training_fixed_cannot_be_changed_at_prediction(tiny_model, tmp_path):
    with pytest.raises(MedganError, match="only the sections inference and outputs may change"):
        medgan.predict(tiny_model.model, [tiny_model.manifest], tmp_path, overrides=["patch.size=[8,8,8]"])


def test_evaluation_leaves_scores_summary_report_tables_and_overlays(tiny_model, tmp_path):
    medgan.predict(tiny_model.model, [tiny_model.manifest], tmp_path / "predictions", split="test", device="cpu")
    outcome = medgan.evaluate(tiny_model.manifest, tmp_path / "predictions", tmp_path / "evaluation", split="test")
    assert (outcome.done, outcome.failed) == (("case_d",), {})
    assert {path.name for path in outcome.folder.iterdir()} == {
        "scores.csv",
        "summary.json",
        "report.html",
        "overlays",
        "tables",
    }
    assert [path.name for path in (outcome.folder / "overlays").iterdir()] == ["case_d.png"]
    rows = rows_of(outcome.folder / "scores.csv")
    assert rows[0].keys() >= COLUMNS
    assert [(row["case_id"], row["organ"]) for row in rows] == [
        ("case_d", "left_box"),
        ("case_d", "right_box"),
        ("case_d", "top_box"),
    ]


def test_summary_records_data_model_and_labels(tiny_model, tmp_path):
    medgan.predict(tiny_model.model, [tiny_model.manifest], tmp_path / "predictions", split="test", device="cpu")
    medgan.evaluate(tiny_model.manifest, tmp_path / "predictions", tmp_path / "evaluation", split="test")
    text = (tmp_path / "evaluation" / "summary.json").read_text()
    settings = json.loads(text)["settings"]
    assert (settings["num_cases"], settings["split"], settings["resampled"]) == (1, "test", [])
    record = json.loads((tmp_path / "predictions" / "case_d.json").read_text())
    assert settings["model"]["model_sha256"] == record["model_sha256"]
    assert settings["model"]["medgan"] == medgan.__version__
    assert list(settings["labels"]) == ["left_box", "right_box", "top_box"]
    assert len(settings["reference_sha256"]) == len(settings["prediction_sha256"]) == 64
    assert str(tmp_path) not in text


def test_settings_of_the_evaluation_are_followed_and_recorded(tiny_model, tmp_path):
    references = tiny_model.label("case_d").parent
    settings = EvaluationConfig(surface="voxels", percentiles=(50.0,), pictures=1)
    medgan.evaluate(references, references, tmp_path, settings=settings, surface_tolerance_mm={"top_box": 1.0})
    document = json.loads((tmp_path / "summary.json").read_text())
    assert document["evaluation"]["surface"] == "voxels"
    assert document["organs"]["top_box"]["tolerance_mm"] == 1.0
    assert {"hd50_mm"} <= rows_of(tmp_path / "scores.csv")[0].keys()
    assert len(list((tmp_path / "overlays").iterdir())) == 1


def test_reference_compared_with_itself_is_perfect(tiny_model, tmp_path):
    references = tiny_model.label("case_d").parent
    medgan.evaluate(references, references, tmp_path)
    for row in rows_of(tmp_path / "scores.csv"):
        assert float(row["dice"]) == float(row["surface_dice"]) == 1.0
        assert float(row["hausdorff_mm"]) == float(row["assd_mm"]) == 0.0
        assert row["reference_ml"] == row["prediction_ml"]


def test_case_that_cannot_be_evaluated_is_told_and_the_others_are_evaluated(tiny_model, tmp_path):
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    shutil.copy(tiny_model.label("case_d"), predictions)
    (predictions / "case_a.nii.gz").write_bytes(b"not a NIfTI")
    shutil.copy(tiny_model.label("case_a"), predictions / "case_b.nii.gz")  # one voxel narrower
    shutil.copy(tiny_model.label("case_a"), predictions / "stray.nii.gz")
    outcome = medgan.evaluate(tiny_model.manifest, predictions, tmp_path / "evaluation", workers=2)
    assert outcome.done == ("case_d",)
    assert outcome.failed["case_a"].startswith("prediction case_a.nii.gz is not a NIfTI file")
    assert outcome.failed["case_b"].startswith("reference and prediction must be on one grid")
    assert outcome.failed["case_c"] == "no prediction is named for it."
    assert outcome.failed["stray"] == "no reference is named for its prediction stray.nii.gz."
    assert {row["case_id"] for row in rows_of(outcome.folder / "scores.csv")} == {"case_d"}
    assert json.loads((outcome.folder / "summary.json").read_text())["not_evaluated"] == outcome.failed
    resampled = medgan.evaluate(tiny_model.manifest, predictions, tmp_path / "evaluation", resample=True)
    assert resampled.done == ("case_b", "case_d")
    assert json.loads((outcome.folder / "summary.json").read_text())["settings"]["resampled"] == ["case_b"]


def test_evaluation_of_nothing_usable_is_refused(tiny_model, tmp_path):
    (tmp_path / "case_d.nii.gz").write_bytes(b"not a NIfTI")
    with pytest.raises(MedganError, match=r"against .*: case case_d: prediction case_d\.nii\.gz is not a NIfTI file"):
        medgan.evaluate(tiny_model.label("case_d"), tmp_path / "case_d.nii.gz", tmp_path / "out", labels="a=1,b=2,c=3")
    assert not (tmp_path / "out").exists()


def test_pictures_of_an_earlier_evaluation_do_not_survive(tiny_model, tmp_path):
    references = tiny_model.label("case_d").parent
    medgan.evaluate(references, references, tmp_path, view=["case_a"])
    assert {path.name for path in (tmp_path / "viewer").iterdir()} == {"case_a"}
    assert len(list((tmp_path / "overlays").iterdir())) == 4
    medgan.evaluate(tiny_model.label("case_d"), references, tmp_path, view=["worst:1"])
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["case_d.png"]
    assert [path.name for path in (tmp_path / "viewer").iterdir()] == ["case_d"]


def test_table_of_pairs_is_evaluated(tiny_model, tmp_path):
    rows = ["case_id,reference,prediction", f"x,{tiny_model.label('case_a')},{tiny_model.label('case_a')}"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    outcome = medgan.evaluate(tmp_path / "pairs.csv", None, tmp_path / "out", root="/", labels="a=1,b=2,c=3")
    assert outcome.done == ("x",)
    assert {row["organ"]: row["dice"] for row in rows_of(tmp_path / "out" / "scores.csv")} == dict.fromkeys(
        "abc", "1.0"
    )


def test_manifest_with_several_problems_lists_them_before_training(tmp_path):
    config = write_box_cohort(tmp_path / "cohort")
    (tmp_path / "cohort" / "images" / "case_a.nii.gz").unlink()
    manifest = tmp_path / "cohort" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",val,", ",valid,"))
    with pytest.raises(MedganError, match="2 problems") as caught:
        medgan.train(config, tmp_path / "model")
    assert "case_a.nii.gz: No such file" in str(caught.value)
    assert "found 'valid'" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_all_unusable_volumes_are_listed_before_training(tmp_path):
    config = write_box_cohort(tmp_path / "cohort")
    images, labels = tmp_path / "cohort" / "images", tmp_path / "cohort" / "labels"
    (images / "case_b.nii.gz").write_bytes(b"not a NIfTI")
    write_volume(box_volume((9, 8, 5), labels=True), labels / "case_c.nii.gz")
    with pytest.raises(MedganError, match="2 problems") as caught:
        medgan.train(config, tmp_path / "model")
    assert "case_b.nii.gz" in str(caught.value)
    assert "case case_c: label and image must be on one grid" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_check_names_the_cases_that_are_not_usable(tmp_path):
    config = write_box_cohort(tmp_path)
    (tmp_path / "images" / "case_b.nii.gz").write_bytes(b"not a NIfTI")
    report = check(config)
    assert (report.done, set(report.failed)) == (("case_a", "case_c", "case_d"), {"case_b"})


def test_check_holds_label_values_against_the_labels_file_wherever_it_is_named(tmp_path):
    config = write_box_cohort(tmp_path)
    organs = tmp_path / "labels.yaml"
    organs.write_text("left_box: 1\nright_box: 2\n")
    manifest = tmp_path / "manifest.csv"
    for report in (check(config), check(manifest, labels=organs), check(manifest)):  # it lies beside the manifest
        assert report.organs == ("left_box", "right_box")
        assert report.done == ()
        assert "label values [3] are not in the label map" in report.failed["case_a"]


def test_check_without_a_labels_file_takes_any_values(tmp_path):
    write_box_cohort(tmp_path)
    (tmp_path / "labels.yaml").unlink()
    report = check(tmp_path / "manifest.csv")
    assert (len(report.done), report.num_warnings, report.organs) == (4, 0, ())
    report = check(tmp_path / "manifest.csv", labels=LabelMap.from_mapping({"left_box": 1}))
    assert set(report.failed) == {"case_a", "case_b", "case_c", "case_d"}


@pytest.mark.parametrize(("settings", "num_warnings"), [("", 4), ("preprocessing: {intensity: zscore}", 0)])
def test_check_expects_hu_where_the_window_does(tmp_path, settings, num_warnings):
    config = write_box_cohort(tmp_path)
    config.write_text(f"{config.read_text()}{settings}\n")
    for path in (tmp_path / "images").iterdir():
        image = read_volume(path)
        write_volume(Volume(image.data + 1000, image.affine), path)
    assert check(config).num_warnings == num_warnings


def test_check_shows_its_progress(tmp_path):
    write_box_cohort(tmp_path)
    told = []

    @contextmanager
    def stage(name):
        yield lambda share, note="": told.append((name, share, note))

    check(tmp_path / "manifest.csv", stage=stage)
    assert told == [("check", n / 4, f"case_{letter}") for n, letter in enumerate("abcd", start=1)]


def test_training_into_an_existing_model_is_refused(tiny_model):
    before = sha256_of(tiny_model.model)
    with pytest.raises(MedganError, match="holds a training already; use --resume"):
        medgan.train(tiny_model.config, tiny_model.model)
    assert sha256_of(tiny_model.model) == before


def test_resume_equals_never_having_stopped(tiny_model, tmp_path):
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        medgan.train(tiny_model.config, stopped, stage=interrupting_at("step 2"))
    assert not (stopped / "generator_last.safetensors").exists()
    medgan.train(tiny_model.config, stopped, resume=True)
    for name in ("generator.safetensors", "generator_last.safetensors", "discriminator.safetensors"):
        resumed, straight = load_file(stopped / name), load_file(tiny_model.model / name)
        assert all(np.array_equal(resumed[key], straight[key]) for key in straight), name


def test_resume_with_other_settings_is_refused(tiny_model, tmp_path):
    model = shutil.copytree(tiny_model.model, tmp_path / "model")
    with pytest.raises(MedganError, match="was written with other data or settings"):
        medgan.train(tiny_model.config, model, overrides=["training.learning_rate=0.5"], resume=True)
    assert sha256_of(model) == sha256_of(tiny_model.model)


def test_training_without_adversary_has_no_discriminator(tmp_path):
    config = write_box_cohort(tmp_path / "cohort")
    model = medgan.train(config, tmp_path / "model", overrides=["adversary.enabled=false"])
    assert not (model / "discriminator.safetensors").exists()
    lines = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    assert {"step", "supervised_loss"} == set(lines[0])
    assert medgan.Predictor(model, device="cpu").config.adversary.enabled is False


def test_2d_generator_faces_a_volumetric_discriminator(tiny_model, tmp_path):
    model = medgan.train(tiny_model.config, tmp_path, overrides=["generator.spatial_dims=2"])
    assert weights_ndim(model / "generator.safetensors") == {4}
    assert weights_ndim(model / "discriminator.safetensors") == {5}
    labels = medgan.Predictor(model, device="cpu").predict(read_volume(tiny_model.image("case_d")))
    assert labels.shape == (21, 16, 10)


def test_pictures_train_a_2d_generator_against_a_2d_discriminator(tmp_path):
    config = write_picture_cohort(tmp_path / "cohort")
    model = medgan.train(config, tmp_path / "model", overrides=["generator.spatial_dims=2"])
    assert weights_ndim(model / "generator.safetensors") == weights_ndim(model / "discriminator.safetensors") == {4}
    images = tmp_path / "cohort" / "images"
    outcome = medgan.predict(model, [images / "case_d.png"], tmp_path / "predictions", device="cpu")
    prediction = read_label(outcome.folder / "case_d.nii.gz")
    assert prediction.shape == (24, 23, 1)
    assert set(prediction.data.ravel().tolist()) <= {0, 255}


def test_pictures_are_refused_by_a_3d_generator(tmp_path):
    config = write_picture_cohort(tmp_path / "cohort")
    with pytest.raises(MedganError, match="use spatial_dims 2"):
        medgan.train(config, tmp_path / "model")
